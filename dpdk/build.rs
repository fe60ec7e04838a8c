//! Finds DPDK, compiles the shim and writes its bindings.
//!
//! The `pkg-config` program is asked, not the crate of that name: the crate drops `-include rte_config.h` and
//! `-march=...`, without which inline functions and struct layouts differ from the installed libraries'. The
//! same flags go to `cc` and to libclang, so both see the same structs.
//!
//! What is bound is named below, one by one; `rte_mbuf` and `rte_mempool` stay incomplete types, so that no field
//! of theirs can be read from Rust by accident (they move between DPDK releases).
//!
//! Linking is dynamic. `rustc-link-lib` and `rustc-link-search` do reach the final binary (only
//! `rustc-link-arg` would not), and EAL itself loads the distribution's drivers from its plugin directory.

use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::process::Command;

/// What to do when something is missing.
const HINT: &str = "install what the build needs with `apt-get install libdpdk-dev libclang-dev clang pkg-config \
                    libpcap-dev`, or build without DPDK: `cargo build --no-default-features`";

/// Libraries our calls live in. `rte_log` is a library of its own since 24.03: only those that exist are linked.
const LIBRARIES: [&str; 6] = ["rte_eal", "rte_ethdev", "rte_mbuf", "rte_mempool", "rte_telemetry", "rte_log"];

const FUNCTIONS: [&str; 47] = [
    "rte_eal_cleanup",
    "rte_eal_get_runtime_dir",
    "rte_eal_remote_launch",
    "rte_eal_wait_lcore",
    "rte_eth_dev_close",
    "rte_eth_dev_get_mtu",
    "rte_eth_dev_get_port_by_name",
    "rte_eth_dev_is_valid_port",
    "rte_eth_dev_set_link_down",
    "rte_eth_dev_set_link_up",
    "rte_eth_dev_start",
    "rte_eth_dev_stop",
    "rte_eth_find_next_owned_by",
    "rte_get_main_lcore",
    "rte_get_next_lcore",
    "rte_log_set_global_level",
    "rte_mempool_avail_count",
    "rte_mempool_in_use_count",
    "rte_pktmbuf_free_bulk",
    "rte_strerror",
    "rte_telemetry_register_cmd",
    "rte_version",
    "shim_eal_init",
    "shim_errno",
    "shim_frame_copy",
    "shim_frame_resize",
    "shim_lcore_id",
    "shim_log_route",
    "shim_pool_bytes",
    "shim_pool_create",
    "shim_port_configure",
    "shim_port_info",
    "shim_port_link",
    "shim_port_open_ears",
    "shim_port_stats",
    "shim_port_xstats",
    "shim_rss_uncovered",
    "shim_rss_wanted",
    "shim_rx_burst",
    "shim_rx_mend",
    "shim_telemetry_line",
    "shim_telemetry_list",
    "shim_telemetry_number",
    "shim_telemetry_object",
    "shim_telemetry_text",
    "shim_thread_unpin",
    "shim_tx_burst",
];

const TYPES: [&str; 13] = [
    "shim_lack",
    "shim_limit",
    "shim_link",
    "shim_mbuf",
    "shim_port_info",
    "shim_port_refusals",
    "shim_port_setup",
    "shim_release",
    "shim_stats",
    "shim_step",
    "shim_stripped",
    "shim_traffic",
    "shim_xstat",
];

fn main() {
    for file in ["build.rs", "shim.h", "shim.c"] {
        println!("cargo::rerun-if-changed={file}");
    }
    for name in ["PKG_CONFIG", "PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR", "LIBCLANG_PATH"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    if let Err(why) = build() {
        // This alone fails the build, in one line; a failing exit would bury it in all that was printed before.
        println!("cargo::error={why}; {HINT}");
    }
}

fn build() -> Result<(), String> {
    let mut flags = pkg_config(&["--cflags"])?;
    flags.push("-D_GNU_SOURCE".into()); // DPDK's own headers need it for cpu_set_t

    let mut shim = cc::Build::new();
    shim.file("shim.c").warnings(true).flag("-std=gnu11");
    for flag in &flags {
        shim.flag(flag);
    }
    shim.try_compile("portcullis_shim").map_err(|e| format!("the C shim does not compile: {}", first_line(e)))?;

    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo did not set OUT_DIR")?).join("bindings.rs");
    write_bindings(&flags, &out)?;

    let known = pkg_config(&["--libs"])?;
    for flag in &known {
        if let Some(folder) = flag.strip_prefix("-L") {
            println!("cargo::rustc-link-search=native={folder}");
        }
    }
    for library in LIBRARIES.iter().filter(|name| known.contains(&format!("-l{name}"))) {
        println!("cargo::rustc-link-lib=dylib={library}");
    }
    Ok(())
}

fn write_bindings(flags: &[String], out: &PathBuf) -> Result<(), String> {
    let mut bindings = bindgen::Builder::default()
        .header("shim.h")
        .clang_args(flags)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .use_core()
        .prepend_enum_name(false)
        .merge_extern_blocks(true)
        .formatter(bindgen::Formatter::None)
        .derive_default(true)
        .generate_comments(false)
        .blocklist_type("rte_mbuf.*|rte_mempool.*") // with the types nested in them
        .raw_line("#[repr(C)] pub struct rte_mbuf { _private: [u8; 0] }")
        .raw_line("#[repr(C)] pub struct rte_mempool { _private: [u8; 0] }");
    for name in FUNCTIONS {
        bindings = bindings.allowlist_function(name);
    }
    for name in TYPES {
        bindings = bindings.allowlist_type(name);
    }
    // libclang is loaded at run time, and bindgen panics when there is none.
    panic::set_hook(Box::new(|_| {}));
    let generated = panic::catch_unwind(AssertUnwindSafe(|| bindings.generate()));
    drop(panic::take_hook());
    generated
        .map_err(|_| "libclang was not found".to_owned())?
        .map_err(|e| format!("libclang cannot read DPDK's headers: {}", first_line(e)))?
        .write_to_file(out)
        .map_err(|e| format!("{}: {e}", out.display()))
}

/// The words `pkg-config` answers about libdpdk. (DPDK's own paths hold no blanks; a path that does is not supported.)
fn pkg_config(question: &[&str]) -> Result<Vec<String>, String> {
    let program = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    let answer = Command::new(&program)
        .args(question)
        .arg("libdpdk")
        .output()
        .map_err(|e| format!("cannot run `{program}` to look for DPDK: {e}"))?;
    if !answer.status.success() {
        let complaint = String::from_utf8_lossy(&answer.stderr);
        return Err(format!("pkg-config does not find DPDK (libdpdk): {}", first_line(complaint)));
    }
    Ok(String::from_utf8_lossy(&answer.stdout).split_whitespace().map(str::to_owned).collect())
}

fn first_line(text: impl ToString) -> String {
    text.to_string().lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no reason given").to_owned()
}
