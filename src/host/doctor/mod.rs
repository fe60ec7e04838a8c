//! What of this machine keeps a gateway from working, or from being fast: each finding in words, with the command that mends it.
//!
//! Everything is read from files below one root, so that a test can be any machine; nothing is changed here.

mod cpus;
mod devices;
mod files;
mod memory;
mod software;

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::cores::Cores;
use super::memory::Plan;
use crate::config::Config;

/// What is looked at, by name.
pub const CHECKS: [&str; 14] = [
    "huge_pages",
    "memlock",
    "isolated_cpus",
    "smt_siblings",
    "governor",
    "interrupts",
    "numa",
    "driver",
    "iommu",
    "interface",
    "mtu",
    "libraries",
    "store",
    "audit_log",
];

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Fine,
    /// It works, and slower or less surely than it could.
    Warning,
    /// It will not work.
    Failure,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What there is, and what it means.
    pub message: String,
    /// The command that mends it until the next start of the machine, as root, if there is one.
    pub fix: Option<String>,
}

impl Finding {
    fn fine(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, level: Level::Fine, message: message.into(), fix: None }
    }

    fn warning(check: &'static str, message: impl Into<String>) -> Self {
        Self { level: Level::Warning, ..Self::fine(check, message) }
    }

    fn failure(check: &'static str, message: impl Into<String>) -> Self {
        Self { level: Level::Failure, ..Self::fine(check, message) }
    }

    fn mended_by(self, command: impl Into<String>) -> Self {
        Self { fix: Some(command.into()), ..self }
    }
}

/// The machine that is looked at.
#[derive(Clone, Debug)]
pub struct Machine {
    root: PathBuf,
}

impl Machine {
    /// The one that this process runs on.
    #[must_use]
    pub fn here() -> Self {
        Self { root: "/".into() }
    }

    /// What is below `root`.
    #[cfg(test)]
    fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Where an absolute path lies.
    fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The text of a file, without blanks around it.
    fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        fs::read_to_string(self.at(path)).ok().map(|text| text.trim().to_owned())
    }

    fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.at(path).exists()
    }

    /// Names in a folder, ascending; none if it is not there.
    fn names(&self, path: impl AsRef<Path>) -> Vec<String> {
        let entries = fs::read_dir(self.at(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Looks at everything that a start with this configuration needs.
    #[must_use]
    pub fn examine(&self, config: &Config, cores: &Cores, plan: Plan) -> Vec<Finding> {
        let mut findings = memory::examine(self, config, plan);
        findings.extend(cpus::examine(self, config, cores));
        findings.extend(devices::examine(self, config));
        findings.extend(software::examine(self, config));
        findings.extend(files::examine(self, config));
        findings
    }
}

#[cfg(test)]
mod testing {
    use super::*;

    /// A machine that is made of files.
    pub(super) struct Made(tempfile::TempDir);

    impl Made {
        pub(super) fn of(files: &[(&str, &str)]) -> Self {
            let made = Self(tempfile::tempdir().unwrap());
            files.iter().for_each(|(path, text)| made.write(path, text));
            made
        }

        pub(super) fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        pub(super) fn link(&self, path: &str, to: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(to, path).unwrap();
        }

        pub(super) fn machine(&self) -> Machine {
            Machine::below(self.0.path())
        }
    }

    /// A configuration with one link between these.
    pub(super) fn config(inside: &str, outside: &str, more: &str) -> Config {
        let text = format!("[[link]]\nname = \"a\"\ninside = \"{inside}\"\noutside = \"{outside}\"\n{more}");
        Config::parse(&text, Path::new("test")).unwrap()
    }

    /// Of each finding the level, what of its message tells it from others, and the command.
    #[track_caller]
    pub(super) fn assert_found(findings: &[Finding], expected: &[(Level, &str, Option<&str>)]) {
        assert_eq!(findings.len(), expected.len(), "{findings:#?}");
        assert!(findings.iter().all(|finding| CHECKS.contains(&finding.check)), "{findings:#?}");
        for (finding, (level, words, fix)) in findings.iter().zip(expected) {
            assert!(finding.level == *level && finding.message.contains(words), "{words}: {finding:#?}");
            assert_eq!(finding.fix.as_deref(), *fix, "{finding:#?}");
        }
    }
}
