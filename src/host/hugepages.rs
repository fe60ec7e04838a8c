//! Huge pages: how many there are, which of them can be used, and whether to use them.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::config::Hugepages;

/// The huge pages of this machine, smallest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HugePages(Vec<Pages>);

/// Pages of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pages {
    kib: u64,
    total: u64,
    free: u64,
    /// Where DPDK can reach them.
    mounted: Option<PathBuf>,
}

/// Whether to use huge pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// They are asked for, or there are enough.
    Huge,
    /// The configuration says so.
    Ordinary,
    /// There are not enough; in words.
    TooFew(String),
}

impl HugePages {
    /// Those of the running system.
    #[must_use]
    pub fn look() -> Self {
        Self::below(Path::new("/"))
    }

    /// Those that the files below `root` tell of.
    pub(super) fn below(root: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let usual = read("proc/meminfo")
            .lines()
            .find_map(|line| line.strip_prefix("Hugepagesize:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        let mounts = mounts(&read("proc/mounts"), usual.unwrap_or(2048));
        let sizes = fs::read_dir(root.join("sys/kernel/mm/hugepages")).into_iter().flatten().flatten();
        let pages = |folder: &Path| {
            let kib = folder.file_name()?.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let number = |file| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok();
            let mounted = mounts.iter().find(|(size, _)| *size == kib).map(|(_, path)| path.clone());
            Some(Pages { kib, total: number("nr_hugepages")?, free: number("free_hugepages")?, mounted })
        };
        let mut pages: Vec<_> = sizes.filter_map(|entry| pages(&entry.path())).collect();
        pages.sort_by_key(|pages| pages.kib);
        Self(pages)
    }

    /// MiB that are free in pages of one size that are mounted.
    #[must_use]
    pub fn free_mib(&self) -> u64 {
        let mounted = self.0.iter().filter(|pages| pages.mounted.is_some());
        mounted.map(|pages| pages.free.saturating_mul(pages.kib) / 1024).max().unwrap_or(0)
    }

    /// The command after which so much is free, in pages of the smallest size that is mounted; of those that are not mounted, it
    /// mounts the smallest. Nothing if the kernel has none.
    #[must_use]
    pub fn reserve(&self, memory_mib: u32) -> Option<String> {
        let pages = self.0.iter().find(|pages| pages.mounted.is_some()).or(self.0.first())?;
        let needed = (u64::from(memory_mib) << 10).div_ceil(pages.kib);
        let total = pages.total + needed.saturating_sub(pages.free);
        let reserve = format!("echo {total} > /sys/kernel/mm/hugepages/hugepages-{}kB/nr_hugepages", pages.kib);
        Some(match pages.mounted {
            Some(_) => reserve,
            None => {
                let (place, mib) = ("/dev/hugepages", pages.kib >> 10);
                format!("mkdir -p {place} && mount -t hugetlbfs -o pagesize={mib}M none {place} && {reserve}")
            }
        })
    }

    /// Whether to use them for so much memory.
    #[must_use]
    pub fn choose(&self, wanted: Hugepages, memory_mib: u32) -> Choice {
        match wanted {
            Hugepages::On => Choice::Huge,
            Hugepages::Off => Choice::Ordinary,
            Hugepages::Auto if self.free_mib() >= u64::from(memory_mib) => Choice::Huge,
            Hugepages::Auto => Choice::TooFew(format!("{memory_mib} MiB are needed, and there are {self}")),
        }
    }
}

impl fmt::Display for HugePages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Pages { kib, total, free, mounted }) in self.0.iter().enumerate() {
            let (comma, mib) = (if at == 0 { "" } else { ", " }, kib / 1024);
            write!(f, "{comma}{total} huge pages of {mib} MiB, {free} of them free, ")?;
            match mounted {
                Some(path) => write!(f, "mounted at {}", path.display())?,
                None => write!(f, "not mounted (`mount -t hugetlbfs -o pagesize={mib}M none DIRECTORY`)")?,
            }
        }
        if self.0.is_empty() { f.write_str("no huge pages in this kernel") } else { Ok(()) }
    }
}

/// Sizes in KiB and places of hugetlbfs; without a `pagesize` it has the usual one.
fn mounts(text: &str, usual_kib: u64) -> Vec<(u64, PathBuf)> {
    let mount = |line: &str| {
        let mut words = line.split(' ').skip(1);
        let (place, kind, options) = (words.next()?, words.next()?, words.next()?);
        let size = options.split(',').find_map(|option| option.strip_prefix("pagesize="));
        let kib = size.map_or(Some(usual_kib), |size| {
            let (number, unit) = size.split_at(size.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len());
            let number: u64 = number.parse().ok()?;
            match unit {
                "K" | "kB" => Some(number),
                "M" => number.checked_mul(1 << 10),
                "G" => number.checked_mul(1 << 20),
                _ => None,
            }
        });
        (kind == "hugetlbfs").then_some(())?;
        Some((kib?, PathBuf::from(place)))
    };
    text.lines().filter_map(mount).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(sizes: &[(u64, u64, u64)], mounts: &str) -> HugePages {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/meminfo", "MemTotal:  1 kB\nHugepagesize:       2048 kB\n");
        write("proc/mounts", mounts);
        for (kib, total, free) in sizes {
            write(&format!("sys/kernel/mm/hugepages/hugepages-{kib}kB/nr_hugepages"), &format!("{total}\n"));
            write(&format!("sys/kernel/mm/hugepages/hugepages-{kib}kB/free_hugepages"), &format!("{free}\n"));
        }
        HugePages::below(root.path())
    }

    const USUAL: &str = "tmpfs /run tmpfs rw 0 0\nhugetlbfs /dev/hugepages hugetlbfs rw,relatime,pagesize=2M 0 0\n";

    #[test]
    fn pages_of_a_size_that_is_not_mounted_do_not_count() {
        let pages = machine(&[(1_048_576, 4, 4), (2048, 64, 10)], USUAL);
        assert_eq!(pages.free_mib(), 20);
        let why = "65 MiB are needed, and there are 64 huge pages of 2 MiB, 10 of them free, mounted at /dev/hugepages, 4 \
                   huge pages of 1024 MiB, 4 of them free, not mounted (`mount -t hugetlbfs -o pagesize=1024M none \
                   DIRECTORY`)";
        assert_eq!(pages.choose(Hugepages::Auto, 65), Choice::TooFew(why.into()));
        assert_eq!(pages.choose(Hugepages::Auto, 20), Choice::Huge);
    }

    #[test]
    fn a_mount_without_a_size_has_the_usual_one() {
        let mount = "none /mnt/huge hugetlbfs rw,relatime 0 0\nnone /mnt/gib hugetlbfs rw,pagesize=1024M 0 0\n";
        let pages = machine(&[(1_048_576, 1, 1), (2048, 64, 64)], mount);
        assert_eq!(pages.free_mib(), 1024);
        assert!(pages.to_string().contains("mounted at /mnt/huge, 1 huge pages"), "{pages}");
    }

    #[test]
    fn what_the_file_says_is_done() {
        let none = machine(&[], USUAL);
        assert_eq!(none.to_string(), "no huge pages in this kernel");
        assert_eq!(none.choose(Hugepages::On, 65), Choice::Huge);
        assert_eq!(none.choose(Hugepages::Off, 65), Choice::Ordinary);
        assert!(matches!(none.choose(Hugepages::Auto, 65), Choice::TooFew(_)));
    }
}
