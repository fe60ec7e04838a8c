//! Whether what is kept on disk can be.

use std::path::Path;

use rustix::fs::{Access, access, statvfs};

use super::{Finding, Machine};
use crate::config::Config;

/// What a VM takes in the store's two files, about.
const STORE_BYTES_PER_VM: u64 = 2 * 350;

pub(super) fn examine(machine: &Machine, config: &Config) -> Vec<Finding> {
    let store = match &config.store.path {
        Some(path) => kept(machine, "store", "store.path", path, u64::from(config.table.vms) * STORE_BYTES_PER_VM),
        None => Finding::warning("store", "no `store.path`: VMs and policy are forgotten when the process ends"),
    };
    let audit = config.control.audit.as_deref().map(|path| kept(machine, "audit_log", "control.audit", path, 1 << 20));
    std::iter::once(store).chain(audit).collect()
}

fn kept(machine: &Machine, check: &'static str, key: &str, path: &Path, wanted_bytes: u64) -> Finding {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (shown, real) = (folder.display(), machine.at(folder));
    if !real.is_dir() {
        let message = format!("`{key}`: there is no folder {shown} (the packaged unit makes its own)");
        let finding = Finding::failure(check, message);
        return match folder.to_str() {
            Some(plain) if !plain.contains('\'') => finding.mended_by(format!("install -d -m 0700 '{plain}'")),
            _ => finding,
        };
    }
    if let Err(error) = access(&real, Access::WRITE_OK | Access::EXEC_OK) {
        return Finding::failure(check, format!("`{key}`: {shown} cannot be written: {error}"));
    }
    let free = statvfs(&real).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    match free {
        Ok(free) if free < wanted_bytes => {
            let (free, wanted) = (free >> 20, wanted_bytes.div_ceil(1 << 20));
            Finding::warning(
                check,
                format!("`{key}`: {free} MiB are free in {shown}, and up to {wanted} may be needed"),
            )
        }
        _ => Finding::fine(check, format!("`{key}`: {shown} can be written")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level::{Failure, Fine, Warning};
    use super::super::testing::{Made, assert_found, config};
    use super::*;

    #[test]
    fn folders_that_are_not_there_are_found_before_a_change_is_lost() {
        let made = Made::of(&[("var/lib/x/state.redb", "")]);
        let found = |more: &str| examine(&made.machine(), &config("net_null0", "net_null1", more));
        assert_found(&found(""), &[(Warning, "forgotten", None)]);
        let store = "[store]\npath = \"/var/lib/x/state.redb\"\n";
        assert_found(&found(&format!("{store}[table]\nvms = 1")), &[(Fine, "/var/lib/x can be written", None)]);
        let audit = "[control]\naudit = \"/var/log/x/audit.jsonl\"\n[table]\nvms = 1\n";
        let made_by = Some("install -d -m 0700 '/var/log/x'");
        assert_found(
            &found(&format!("{store}{audit}")),
            &[(Fine, "", None), (Failure, "no folder /var/log/x", made_by)],
        );
    }

    #[test]
    fn a_disk_that_is_too_small_is_said() {
        let made = Made::of(&[("x/y", "")]);
        let finding = kept(&made.machine(), "store", "store.path", Path::new("/x/state.redb"), u64::MAX);
        assert_found(&[finding], &[(Warning, "MiB are free in /x, and up to", None)]);
    }
}
