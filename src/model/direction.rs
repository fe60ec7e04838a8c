//! Which way a frame goes, and how seriously a denial is meant.

use super::LinkIndex;

/// Which way a frame travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Received on the inside port: the VM is the source.
    Egress,
    /// Received on the outside port: the VM is the destination.
    Ingress,
}

impl Direction {
    /// Both, egress first.
    pub const ALL: [Self; 2] = [Self::Egress, Self::Ingress];

    /// The way back.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Egress => Self::Ingress,
            Self::Ingress => Self::Egress,
        }
    }

    /// The name in JSON, metrics and the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
        }
    }
}

/// The way of a frame: the link it came in by, and in which direction. Everything that is decided or counted of frames in
/// bulk is decided and counted for a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Way {
    /// The link.
    pub link: LinkIndex,
    /// The direction.
    pub direction: Direction,
}

/// Whether a denied frame is dropped or only counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Denied frames are dropped.
    #[default]
    Enforce,
    /// Denied frames are forwarded and counted as `would_deny`.
    Monitor,
}

impl Mode {
    /// As in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Monitor => "monitor",
        }
    }
}
