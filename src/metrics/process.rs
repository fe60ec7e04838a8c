//! What the system says of this process, by the names that Prometheus' own libraries have for it.

use procfs::process::{LimitValue, Process};
use procfs::{ProcResult, boot_time_secs, page_size, ticks_per_second};

use super::families::Families;

/// As far as the system says.
pub(super) fn add(families: &mut Families) {
    if let Err(error) = read(families) {
        tracing::debug!("/proc/self: {error}");
    }
}

fn read(families: &mut Families) -> ProcResult<()> {
    let process = Process::myself()?;
    let stat = process.stat()?;
    let seconds = |ticks: u64| ticks as f64 / ticks_per_second() as f64;
    families.counters(
        "process_cpu_seconds_total",
        "CPU time that the process took; a worker polls and takes all of its CPU.",
        [seconds(stat.utime + stat.stime).into()],
    );
    let resident = (stat.rss * page_size()) as f64;
    families.gauge("process_resident_memory_bytes", "Memory of the process, huge pages apart.", resident);
    families.gauge(
        "process_virtual_memory_bytes",
        "Address space of the process, most of it untouched.",
        stat.vsize as f64,
    );
    families.gauge("process_threads", "Threads of the process.", stat.num_threads as f64);
    families.gauge("process_open_fds", "Open file descriptors.", process.fd_count()? as f64);
    if let LimitValue::Value(most) = process.limits()?.max_open_files.soft_limit {
        families.gauge("process_max_fds", "Most file descriptors that can be open.", most as f64);
    }
    let start = boot_time_secs()? as f64 + seconds(stat.starttime);
    families.gauge("process_start_time_seconds", "When the process started, in seconds since 1970 (UTC).", start);
    Ok(())
}
