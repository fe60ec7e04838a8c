//! Which CPU does what.

use std::fmt::{self, Write as _};

/// CPUs of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores {
    /// EAL's main lcore, which starts everything.
    pub main: u32,
    /// One worker each.
    pub workers: Vec<u32>,
    /// Everything else once frames flow: where no worker is, or with the main lcore if there is a worker everywhere.
    pub others: Vec<u32>,
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [workers, others] = [&self.workers, &self.others].map(|cpus| ranges(cpus));
        write!(f, "workers on CPUs {workers}, everything else on CPUs {others}, main lcore on CPU {}", self.main)
    }
}

/// Why the cores cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoresError {
    /// Not a list of CPUs.
    #[error("dpdk.cores: `{0}` is not a list of CPUs; write \"1-4\" or \"1,3\"")]
    Syntax(String),
    /// A CPU the process may not run on.
    #[error("{key}: CPU {cpu} is not available; this process may run on {}", ranges(available))]
    Unavailable {
        /// `dpdk.cores` or `dpdk.main_core`.
        key: &'static str,
        /// As asked.
        cpu: u32,
        /// What there is.
        available: Vec<u32>,
    },
    /// The same worker twice.
    #[error("dpdk.cores: CPU {0} is named twice; two workers on one CPU would only wait for each other")]
    Twice(u32),
    /// Nobody would forward.
    #[error("dpdk.cores: no worker, so nothing would be forwarded; name at least one CPU")]
    NoWorker,
}

impl Cores {
    /// What the configuration asks of the CPUs that are `available` (ascending, at least one). By default the first CPU
    /// is the main one and every other has a worker; with one CPU they share it.
    ///
    /// # Errors
    /// [`CoresError`]
    pub fn choose(cores: Option<&str>, main_core: Option<u32>, available: &[u32]) -> Result<Self, CoresError> {
        let asked = cores.map(parse).transpose()?;
        let first = available.iter().copied().find(|cpu| !asked.as_ref().is_some_and(|asked| asked.contains(cpu)));
        let main = main_core.or(first).or(available.first().copied()).unwrap_or(0);
        let workers = asked.unwrap_or_else(|| match available.iter().copied().filter(|&cpu| cpu != main).collect() {
            others if available.len() > 1 => others,
            _ => vec![main],
        });
        let check = |key, cpu| match available.contains(&cpu) {
            true => Ok(()),
            false => Err(CoresError::Unavailable { key, cpu, available: available.to_vec() }),
        };
        check("dpdk.main_core", main)?;
        for (at, &cpu) in workers.iter().enumerate() {
            check("dpdk.cores", cpu)?;
            if workers.iter().take(at).any(|&other| other == cpu) {
                return Err(CoresError::Twice(cpu));
            }
        }
        if workers.is_empty() {
            return Err(CoresError::NoWorker);
        }
        let others: Vec<u32> = available.iter().copied().filter(|cpu| !workers.contains(cpu)).collect();
        let others = if others.is_empty() { vec![main] } else { others };
        Ok(Self { main, workers, others })
    }

    /// What EAL's `--lcores` takes: lcore 0 is the main one, lcore n the n-th worker.
    #[must_use]
    pub fn lcores(&self) -> String {
        let mut text = format!("0@{}", self.main);
        for (at, cpu) in self.workers.iter().enumerate() {
            let _ = write!(text, ",{}@{cpu}", at + 1);
        }
        text
    }
}

/// `1-4,6`
pub(super) fn parse(list: &str) -> Result<Vec<u32>, CoresError> {
    let error = || CoresError::Syntax(list.chars().take(64).collect());
    let number = |text: &str| text.trim().parse::<u32>().ok().filter(|&cpu| cpu < 4096).ok_or_else(error);
    let mut cpus = Vec::new();
    if list.trim().is_empty() {
        return Ok(cpus);
    }
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(error());
        }
        cpus.extend(first..=last);
    }
    Ok(cpus)
}

pub(super) fn ranges(cpus: &[u32]) -> String {
    let mut text = String::new();
    let mut rest = cpus.iter().copied().peekable();
    while let Some(first) = rest.next() {
        let mut last = first;
        while let Some(next) = rest.next_if_eq(&(last + 1)) {
            last = next;
        }
        let comma = if text.is_empty() { "" } else { "," };
        let _ = if first == last { write!(text, "{comma}{first}") } else { write!(text, "{comma}{first}-{last}") };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_every_cpu_but_the_first_has_a_worker() {
        let cores = Cores::choose(None, None, &[0, 1, 2]).unwrap();
        assert_eq!(cores, Cores { main: 0, workers: vec![1, 2], others: vec![0] });
        assert_eq!(cores.lcores(), "0@0,1@1,2@2");
        assert_eq!(Cores::choose(None, None, &[3]).unwrap().lcores(), "0@3,1@3", "one CPU is shared");
        assert_eq!(Cores::choose(None, Some(2), &[0, 1, 2]).unwrap().workers, [0, 1]);
    }

    #[test]
    fn the_main_core_keeps_out_of_the_workers_way() {
        assert_eq!(
            Cores::choose(Some("0"), None, &[0, 1]).unwrap(),
            Cores { main: 1, workers: vec![0], others: vec![1] }
        );
        assert_eq!(
            Cores::choose(Some("0-1"), None, &[0, 1]).unwrap(),
            Cores { main: 0, workers: vec![0, 1], others: vec![0] }
        );
        assert_eq!(Cores::choose(Some("1,3-4"), None, &[0, 1, 2, 3, 4]).unwrap().workers, [1, 3, 4]);
    }

    #[test]
    fn whatever_is_no_worker_keeps_off_the_workers_cpus() {
        let others = |cores, main| Cores::choose(Some(cores), main, &[0, 1, 2, 3, 5]).unwrap().others;
        assert_eq!(others("1", None), [0, 2, 3, 5]);
        assert_eq!(others("0", Some(0)), [1, 2, 3, 5], "not even where the main lcore is a worker too");
        assert_eq!(others("0-3,5", Some(2)), [2], "unless there is no other");
        let said = Cores::choose(Some("1-2"), None, &[0, 1, 2, 3]).unwrap().to_string();
        assert_eq!(said, "workers on CPUs 1-2, everything else on CPUs 0,3, main lcore on CPU 0");
    }

    #[test]
    fn what_cannot_be_had_is_named() {
        let error = |cores, main| Cores::choose(cores, main, &[0, 1, 3]).unwrap_err().to_string();
        assert_eq!(error(Some("1-64"), None), "dpdk.cores: CPU 2 is not available; this process may run on 0-1,3");
        assert_eq!(error(None, Some(9)), "dpdk.main_core: CPU 9 is not available; this process may run on 0-1,3");
        assert!(error(Some("1,1"), None).contains("CPU 1 is named twice"));
        assert!(error(Some(""), None).contains("no worker"));
        for list in ["a", "1-", "4-1", "1,,2", "-1", "99999999999"] {
            assert!(error(Some(list), None).contains("not a list of CPUs"), "{list}");
        }
    }
}
