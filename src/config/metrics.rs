//! `[metrics]`: where the counters are served for Prometheus, and of how many VMs.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// `[metrics]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Where it is served; nowhere if nothing is said.
    #[serde(deserialize_with = "one_or_more")]
    pub listen: Vec<Listen>,
    /// Which VMs have series of their own.
    pub vms: Shown,
}

/// An end that others connect to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub enum Listen {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// One end, or a list of them.
fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Listen>, D::Error> {
    struct Ends;

    impl<'de> Visitor<'de> for Ends {
        type Value = Vec<Listen>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an address with a port, a socket's path, or a list of them")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<Listen>, E> {
            Listen::try_from(text.to_owned()).map(|end| vec![end]).map_err(E::custom)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Listen>, A::Error> {
            std::iter::from_fn(|| list.next_element().transpose()).collect()
        }
    }

    deserializer.deserialize_any(Ends)
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.starts_with('/') {
            return Ok(Self::Unix(text.into()));
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            format!(
                "`{text}` is neither an address with a port nor a socket's path; write \"127.0.0.1:9753\", \"[::1]:9753\" or \
                 \"/run/portcullis/metrics.sock\""
            )
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Which VMs have series of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// So many of them, to which most frames were denied.
    Top(u32),
    /// Each of which a frame was judged.
    All,
}

impl Shown {
    /// Most VMs that are ranked.
    pub const TOP_MAX: u32 = 1_000;
}

impl Default for Shown {
    fn default() -> Self {
        Self::Top(20)
    }
}

impl<'de> Deserialize<'de> for Shown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Count;

        impl Visitor<'_> for Count {
            type Value = Shown;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a number from 0 to {}, or \"all\"", Shown::TOP_MAX)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Shown, E> {
                let top = u32::try_from(number).ok().filter(|&top| top <= Shown::TOP_MAX);
                top.map(Shown::Top).ok_or_else(|| E::invalid_value(de::Unexpected::Signed(number), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Shown, E> {
                match text {
                    "all" => Ok(Shown::All),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }

        deserializer.deserialize_any(Count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Metrics, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn an_end_is_an_address_or_a_path() {
        let metrics = parse("listen = [\"127.0.0.1:9753\", \"[::1]:1\", \"/run/x.sock\"]\nvms = \"all\"").unwrap();
        let ends: Vec<String> = metrics.listen.iter().map(ToString::to_string).collect();
        assert_eq!(
            (ends, metrics.vms),
            (["127.0.0.1:9753", "[::1]:1", "/run/x.sock"].map(String::from).into(), Shown::All)
        );
        assert_eq!(parse("listen = \"[::1]:1\"").unwrap().listen, [Listen::Tcp("[::1]:1".parse().unwrap())]);
        assert!(parse("listen = 9753").unwrap_err().contains("expected an address with a port"));
        assert_eq!(parse("").unwrap(), Metrics { listen: Vec::new(), vms: Shown::Top(20) });
        for wrong in ["9753", ":9753", "localhost:9753", "127.0.0.1", "metrics.sock", "127.0.0.1:65536"] {
            let error = parse(&format!("listen = [\"{wrong}\"]")).unwrap_err();
            assert!(error.contains(&format!("`{wrong}` is neither")), "{error}");
        }
    }

    #[test]
    fn a_number_of_vms_is_one_that_can_be_ranked() {
        assert_eq!(parse("vms = 0").unwrap().vms, Shown::Top(0));
        assert_eq!(parse("vms = 1000").unwrap().vms, Shown::Top(1000));
        for wrong in ["-1", "1001", "\"none\"", "true"] {
            let error = parse(&format!("vms = {wrong}")).unwrap_err();
            assert!(error.contains("0 to 1000, or \"all\""), "{error}");
        }
    }
}
