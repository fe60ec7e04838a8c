//! EAL's argument vector, built from the configuration; raw options may follow.
//!
//! Options that the operator adds win over what was computed. Against what the configuration file says in so many words
//! they do not win: a contradiction is refused and both sides are named.

use std::collections::BTreeSet;

use crate::config::Device;

/// Where an option's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    /// Computed; may be overridden.
    Default,
    /// A key of the configuration.
    Key(&'static str),
}

/// An option that the configuration decides.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    /// As it stands on the command line: `--lcores`, `0@0,1@1`.
    words: Vec<String>,
    origin: Origin,
}

/// The argument vector in the making.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EalArgs {
    settings: Vec<Setting>,
    devices: Vec<String>,
    names: BTreeSet<String>,
}

/// Raw options that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EalArgsError {
    /// Two sides say different things.
    #[error(
        "EAL option `{option}` contradicts `{key}` of the configuration, which gives `{configured}`; change one of them"
    )]
    Contradiction {
        /// As added.
        option: String,
        /// The configuration's key.
        key: &'static str,
        /// What EAL would get from it.
        configured: String,
    },
    /// A device that a link uses already.
    #[error("EAL option `{option}` names device `{device}`, which a link of the configuration uses already")]
    Device {
        /// As added.
        option: String,
        /// Whose name.
        device: String,
    },
}

/// Options that decide the same thing, so that one replaces the other.
const SAME: [&[&str]; 6] = [
    &["--lcores", "-l", "-c", "-s", "-S"],
    &["--main-lcore"],
    &["--file-prefix"],
    &["--no-huge", "--huge-dir", "--single-file-segments", "--huge-unlink", "--in-memory"],
    &["-m", "--socket-mem"],
    &["--no-telemetry", "--telemetry"],
];

/// The place in [`SAME`] of options that say which lcores there are.
const LCORES: usize = 0;

/// Options without a value.
const FLAGS: [&str; 10] = [
    "--no-huge",
    "--no-pci",
    "--in-memory",
    "--huge-unlink",
    "--single-file-segments",
    "--no-telemetry",
    "--telemetry",
    "--no-hpet",
    "--legacy-mem",
    "--match-allocations",
];

fn group(option: &str) -> Option<usize> {
    SAME.iter().position(|names| names.contains(&option))
}

impl EalArgs {
    /// Sets an option from a configuration key that the file may or may not name.
    pub fn set(&mut self, words: &[&str], key: &'static str, explicit: bool) {
        let words = words.iter().map(ToString::to_string).collect();
        self.settings.push(Setting { words, origin: if explicit { Origin::Key(key) } else { Origin::Default } });
    }

    /// Adds a link's device.
    pub fn device(&mut self, device: &Device) {
        self.names.insert(device.name().to_owned());
        match device {
            Device::Pci { allow, .. } => self.devices.extend(["-a".to_owned(), allow.clone()]),
            Device::Virtual { vdev, .. } => self.devices.extend(["--vdev".to_owned(), vdev.clone()]),
        }
    }

    /// Leaves an option to EAL because of another that was added.
    fn give_up(&mut self, option: &str, added: &[String]) -> Result<(), EalArgsError> {
        let ours = |setting: &Setting| setting.words.first().is_some_and(|word| word == option);
        if let Some(Setting { words, origin: Origin::Key(key) }) = self.settings.iter().find(|setting| ours(setting)) {
            return Err(EalArgsError::Contradiction { option: added.join(" "), key, configured: words.join(" ") });
        }
        self.settings.retain(|setting| !ours(setting));
        Ok(())
    }

    /// The argument vector, `program` first and `extra` merged in.
    ///
    /// # Errors
    /// [`EalArgsError`]
    pub fn finish(mut self, program: &str, extra: &[String]) -> Result<Vec<String>, EalArgsError> {
        let mut added: Vec<String> = Vec::new();
        for words in split(extra) {
            let Some(option) = words.first() else { continue };
            if let (true, Some(device)) = (matches!(option.as_str(), "--vdev" | "-a" | "--allow"), words.get(1)) {
                let name = device.split(',').next().unwrap_or_default();
                if self.names.contains(name) {
                    return Err(EalArgsError::Device { option: words.join(" "), device: name.to_owned() });
                }
            }
            if let Some(same) = group(option) {
                let rival = |setting: &&Setting| setting.words.first().and_then(|option| group(option)) == Some(same);
                if let Some(setting) = self.settings.iter().find(rival)
                    && setting.words != words
                    && let Origin::Key(key) = setting.origin
                {
                    let (option, configured) = (words.join(" "), setting.words.join(" "));
                    return Err(EalArgsError::Contradiction { option, key, configured });
                }
                let as_ours = self.settings.iter().any(|setting| setting.words == words);
                self.settings.retain(|setting| !rival(&setting));
                // Whoever says which lcores there are numbers them, and a main lcore of our numbering need not be among
                // theirs: EAL's own default, the first, is.
                if same == LCORES && !as_ours {
                    self.give_up("--main-lcore", &words)?;
                }
            }
            added.extend(words);
        }
        let mut args = vec![program.to_owned()];
        args.extend(self.settings.into_iter().flat_map(|setting| setting.words));
        if !self.devices.iter().any(|word| word == "-a") && !added.iter().any(|word| word == "--no-pci" || word == "-a")
        {
            args.push("--no-pci".into());
        }
        args.extend(self.devices);
        args.extend(added);
        Ok(args)
    }
}

/// Options with their values: `--vdev X`, `--vdev=X`, `-l0` and flags, all as a list of one or two words.
fn split(extra: &[String]) -> Vec<Vec<String>> {
    let mut options: Vec<Vec<String>> = Vec::new();
    let mut words = extra.iter().peekable();
    while let Some(word) = words.next() {
        let mut option = match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => vec![name.to_owned(), value.to_owned()],
            _ if word.len() > 2 && word.starts_with('-') && !word.starts_with("--") && word.is_char_boundary(2) => {
                let (name, value) = word.split_at(2);
                vec![name.to_owned(), value.to_owned()]
            }
            _ => vec![word.clone()],
        };
        let takes_value = option.len() == 1 && word.starts_with('-') && !FLAGS.contains(&word.as_str());
        if let Some(value) = words.next_if(|next| takes_value && !next.starts_with('-')) {
            option.push(value.clone());
        }
        options.push(option);
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(extra: &[&str]) -> Result<String, String> {
        let mut args = EalArgs::default();
        args.set(&["--lcores", "0@0,1@1"], "dpdk.cores", true);
        args.set(&["--file-prefix", "portcullis"], "dpdk.file_prefix", false);
        args.set(&["--no-huge"], "dpdk.hugepages", false);
        args.set(&["-m", "64"], "dpdk.memory_mib", false);
        args.device(&Device::try_from("net_null0,size=64".to_owned()).unwrap());
        let extra: Vec<String> = extra.iter().map(ToString::to_string).collect();
        args.finish("portcullis", &extra).map(|args| args.join(" ")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_configuration_makes_the_vector() {
        assert_eq!(
            args(&[]).unwrap(),
            "portcullis --lcores 0@0,1@1 --file-prefix portcullis --no-huge -m 64 --no-pci --vdev net_null0,size=64"
        );
    }

    #[test]
    fn raw_options_follow_and_replace_defaults() {
        assert_eq!(
            args(&["-m", "128", "--file-prefix=x", "--log-level", "pmd:8", "--vdev=net_null5"]).unwrap(),
            "portcullis --lcores 0@0,1@1 --no-huge --no-pci --vdev net_null0,size=64 -m 128 --file-prefix x \
             --log-level pmd:8 --vdev net_null5"
        );
        assert!(args(&["--no-huge"]).unwrap().matches("--no-huge").count() == 1, "said twice, given once");
    }

    #[test]
    fn a_contradiction_names_both_sides() {
        let error = args(&["-l", "0-3"]).unwrap_err();
        assert!(
            error.contains("-l 0-3") && error.contains("dpdk.cores") && error.contains("--lcores 0@0,1@1"),
            "{error}"
        );
        let error = args(&["-l0-3"]).unwrap_err();
        assert!(error.contains("dpdk.cores"), "{error}");
        assert!(args(&["--lcores=0@0,1@1"]).is_ok(), "saying the same is no contradiction");
    }

    #[test]
    fn lcores_of_eals_own_numbering_have_eals_own_main_lcore() {
        let finish = |main: bool, extra: &[&str]| {
            let mut args = EalArgs::default();
            args.set(&["--lcores", "0@0,1@1"], "dpdk.cores", false);
            args.set(&["--main-lcore", "0"], "dpdk.main_core", main);
            let extra: Vec<String> = extra.iter().map(ToString::to_string).collect();
            args.finish("portcullis", &extra).map(|args| args.join(" ")).map_err(|error| error.to_string())
        };
        assert_eq!(finish(false, &["-l", "1-3"]).unwrap(), "portcullis --no-pci -l 1-3");
        assert_eq!(finish(false, &["--lcores=1@0,2@1"]).unwrap(), "portcullis --no-pci --lcores 1@0,2@1");
        assert!(finish(true, &["--lcores=0@0,1@1"]).unwrap().contains("--main-lcore 0"), "as ours are");
        assert_eq!(finish(false, &["-c6"]).unwrap(), "portcullis --no-pci -c 6");
        assert_eq!(
            finish(false, &["-l", "1-3", "--main-lcore", "2"]).unwrap(),
            "portcullis --no-pci -l 1-3 --main-lcore 2"
        );
        assert_eq!(
            finish(false, &["--main-lcore=2", "-l", "1-3"]).unwrap(),
            "portcullis --no-pci --main-lcore 2 -l 1-3"
        );
        let error = finish(true, &["-l", "1-3"]).unwrap_err();
        assert!(error.contains("`-l 1-3` contradicts `dpdk.main_core`"), "{error}");
    }

    #[test]
    fn a_device_cannot_be_given_twice() {
        let error = args(&["--vdev", "net_null0"]).unwrap_err();
        assert!(error.contains("net_null0"), "{error}");
    }

    #[test]
    fn pci_devices_keep_the_bus_on() {
        let mut eal = EalArgs::default();
        eal.device(&Device::try_from("03:00.0".to_owned()).unwrap());
        assert_eq!(eal.finish("portcullis", &[]).unwrap().join(" "), "portcullis -a 0000:03:00.0");
    }
}
