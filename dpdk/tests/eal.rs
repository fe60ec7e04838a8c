//! EAL, its lcores and its log. One process per test: see `support::alone`.

mod support;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use dpdk::log::Level;
use dpdk::{Eal, Errno, Error, LcoreId, PortId, PortInfo, lcore, log};
use support::{Lab, alone, arguments, sweep};

#[test]
fn eal_starts_once_per_process_even_after_it_ended() {
    if !alone("eal_starts_once_per_process_even_after_it_ended") {
        return;
    }
    let lab = Lab::new(&[]);
    assert!(lab.eal.version().starts_with("DPDK 2"), "{}", lab.eal.version());
    assert_eq!(Eal::init(&arguments(&[])).unwrap_err(), Error::EalStartedBefore);
    drop(lab);
    assert_eq!(Eal::init(&arguments(&[])).unwrap_err(), Error::EalStartedBefore);
}

#[test]
fn arguments_that_would_end_the_process_are_refused_before_eal_sees_them() {
    if !alone("arguments_that_would_end_the_process_are_refused_before_eal_sees_them") {
        return;
    }
    for bad in ["-h", "--help", "--hel", "--", "", "a\0b"] {
        let error = Eal::init(&arguments(&[bad])).unwrap_err();
        assert!(matches!(&error, Error::EalArgument { argument, .. } if argument == bad), "{bad:?}: {error}");
    }
    assert!(matches!(Eal::init(&[]).unwrap_err(), Error::EalArgument { .. }));
    let _still_possible = Lab::new(&[]);
}

#[test]
fn an_argument_eal_does_not_take_is_an_error_that_names_it() {
    if !alone("an_argument_eal_does_not_take_is_an_error_that_names_it") {
        return;
    }
    let error = Eal::init(&arguments(&["stray"])).unwrap_err();
    assert!(matches!(&error, Error::EalArgument { argument, .. } if argument == "stray"), "{error}");
    sweep();
}

#[test]
fn a_failed_start_tells_the_cause_and_the_arguments() {
    if !alone("a_failed_start_tells_the_cause_and_the_arguments") {
        return;
    }
    let error = Eal::init(&arguments(&["--vdev=net_nosuchdriver0"])).unwrap_err();
    sweep();
    assert!(matches!(error, Error::EalInit { cause: Errno::NODEV, .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("--vdev=net_nosuchdriver0") && text.contains("errno"), "{text}");
}

#[test]
fn a_process_that_dpdk_ends_has_the_last_word() {
    const CHILD: &str = "DPDK_TEST_ENDS";
    if std::env::var_os(CHILD).is_some() {
        dpdk::if_ended_while_starting(|status| {
            eprintln!("ended with {status}");
            42
        });
        // Its own "help" is refused by name, but not where it hides behind another option.
        let answer = Eal::init(&arguments(&["-vh"]));
        unreachable!("DPDK has answered: {answer:?}");
    }
    let child = std::process::Command::new(std::env::current_exe().expect("a path"))
        .args(["a_process_that_dpdk_ends_has_the_last_word", "--exact", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .expect("the test binary can be run");
    let (out, err) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert_eq!(child.status.code(), Some(42), "{out}{err}");
    assert!(err.contains("ended with 0") && !out.contains("EAL"), "{out}{err}");
}

#[test]
fn dpdk_prints_nothing_on_stdout() {
    use std::process::Command;
    // The child fails on an unknown option, so EAL prints its usage; and once it starts well and logs a lot.
    for test in ["child_unknown_option", "child_logs_a_lot"] {
        let child = Command::new(std::env::current_exe().expect("a path"))
            .args([test, "--exact", "--nocapture", "--ignored", "--format=terse"])
            .env("DPDK_TEST_CHILD", "1")
            .output()
            .expect("the test binary can be run");
        let (out, err) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
        assert!(child.status.success(), "{out}{err}");
        assert!(err.contains("EAL"), "{test}: EAL's words are on stderr: {err}");
        assert!(!out.contains("EAL"), "{test}: stdout is ours: {out}");
    }
}

#[test]
#[ignore = "run by dpdk_prints_nothing_on_stdout"]
fn child_unknown_option() {
    // Since 25.11 EAL ends the process for it.
    dpdk::if_ended_while_starting(|status| i32::from(status == 0));
    assert!(Eal::init(&arguments(&["--no-such-option"])).is_err());
    sweep();
}

#[test]
#[ignore = "run by dpdk_prints_nothing_on_stdout"]
fn child_logs_a_lot() {
    log::set_level(Level::Debug);
    let lab = Lab::new(&["net_null0", "net_ring0"]);
    assert_eq!(lab.eal.ports().len(), 2);
}

static HEARD: Mutex<Vec<(Level, String)>> = Mutex::new(Vec::new());

#[test]
fn the_log_goes_where_it_is_routed() {
    if !alone("the_log_goes_where_it_is_routed") {
        return;
    }
    log::route(|level, text| HEARD.lock().expect("not poisoned").push((level, text.to_owned()))).expect("routes");
    log::set_level(Level::Debug);
    let _lab = Lab::new(&[]);
    let heard = HEARD.lock().expect("not poisoned");
    assert!(heard.iter().any(|(level, text)| *level == Level::Info && text.contains("EAL")), "{heard:?}");
    assert!(heard.iter().all(|(_, text)| !text.ends_with('\n')));
}

#[test]
fn a_job_runs_on_its_lcore_and_frees_it_when_waited_for() {
    if !alone("a_job_runs_on_its_lcore_and_frees_it_when_waited_for") {
        return;
    }
    let lab = Lab::new(&[]);
    assert_eq!(lab.eal.main_lcore(), LcoreId(0));
    assert_eq!(lab.eal.worker_lcores(), [LcoreId(1), LcoreId(3)]);
    assert_eq!(lcore::current(), Some(LcoreId(0)));
    assert_eq!(std::thread::spawn(lcore::current).join().expect("no panic"), None);

    for worker in lab.eal.worker_lcores() {
        for _ in 0..100 {
            let ran_on = Arc::new(AtomicU32::new(u32::MAX));
            let seen = Arc::clone(&ran_on);
            let job = lcore::launch(&lab.eal, worker, move || {
                seen.store(lcore::current().map_or(u32::MAX, |l| l.0), Ordering::Relaxed);
            })
            .expect("launches");
            job.wait();
            assert_eq!(ran_on.load(Ordering::Relaxed), worker.0);
            assert_eq!(Arc::strong_count(&ran_on), 1, "what the job captured is gone");
        }
    }
}

#[test]
fn a_lcore_takes_one_job_at_a_time_and_only_workers_take_any() {
    if !alone("a_lcore_takes_one_job_at_a_time_and_only_workers_take_any") {
        return;
    }
    let lab = Lab::new(&[]);
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let job = lcore::launch(&lab.eal, lab.worker(), move || wait.recv().unwrap_or_default()).expect("launches");
    assert!(!job.is_finished());
    assert_eq!(lcore::launch(&lab.eal, lab.worker(), || ()).unwrap_err(), Error::LcoreBusy(LcoreId(1)));
    go.send(()).expect("the job listens");
    while !job.is_finished() {
        std::thread::yield_now();
    }
    assert_eq!(lcore::launch(&lab.eal, lab.worker(), || ()).unwrap_err(), Error::LcoreBusy(LcoreId(1)), "not yet");
    job.wait();
    lcore::launch(&lab.eal, lab.worker(), || ()).expect("free again").wait();
    for nobody in [LcoreId(0), LcoreId(2), LcoreId(100_000)] {
        assert_eq!(lcore::launch(&lab.eal, nobody, || ()).unwrap_err(), Error::NotAWorker(nobody));
    }
}

#[test]
fn a_control_thread_can_leave_the_main_lcores_cpu() {
    if !alone("a_control_thread_can_leave_the_main_lcores_cpu") {
        return;
    }
    let allowed = || {
        let status = std::fs::read_to_string("/proc/thread-self/status").expect("readable");
        status.lines().find(|l| l.starts_with("Cpus_allowed_list")).expect("listed").to_owned()
    };
    let before = allowed();
    let lab = Lab::new(&[]);
    let eal = lab.eal.clone();
    let after = std::thread::spawn(move || {
        eal.unpin_thread().expect("unpins");
        allowed()
    });
    let after = after.join().expect("no panic");
    // All our lcores share CPU 0: what is left is everything else, or CPU 0 where there is nothing else.
    assert!(after != before || !before.contains(['-', ',']), "{before} -> {after}");
    assert_eq!(allowed(), "Cpus_allowed_list:\t0", "the main lcore stays pinned");
}

#[test]
fn a_missing_device_is_told_apart() {
    if !alone("a_missing_device_is_told_apart") {
        return;
    }
    let lab = Lab::new(&[]);
    assert_eq!(lab.eal.ports(), []);
    assert_eq!(lab.eal.port_by_name("net_null0"), None);
    for port in [PortId(0), PortId(u16::MAX)] {
        assert_eq!(PortInfo::query(&lab.eal, port).unwrap_err(), Error::NoSuchPort(port));
        let pool = dpdk::Mempool::new(&lab.eal, &format!("pool{port}"), 63, 0, 2048).expect("a pool");
        let error = dpdk::Port::configure(&lab.eal, port, &support::CONFIG, &pool).unwrap_err();
        assert_eq!(error, Error::NoSuchPort(port));
    }
}
