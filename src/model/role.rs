//! Who may do how much over the control socket: the roles, and whom a configuration gives them to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How much somebody may do. Each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Ask.
    Read,
    /// Change VMs.
    Write,
    /// Change policy, too.
    Admin,
}

impl Role {
    /// All, the least first.
    #[cfg(test)]
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// As in a configuration and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whom a role is given to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Principal {
    /// `*`: whoever may connect.
    Everyone,
    /// `alice`
    User(String),
    /// `1000`
    Uid(u32),
    /// `@staff`
    Group(String),
    /// `@1000`
    Gid(u32),
}

/// Why a text names nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names nobody; write a user (\"alice\" or \"1000\"), a group with @ (\"@staff\" or \"@1000\"), or \"*\" for \
     whoever may connect"
)]
pub struct NoPrincipal(String);

impl FromStr for Principal {
    type Err = NoPrincipal;

    fn from_str(text: &str) -> Result<Self, NoPrincipal> {
        let refused = || NoPrincipal(text.to_owned());
        let (is_group, name) = match text.strip_prefix('@') {
            Some(group) => (true, group),
            None => (false, text),
        };
        if text == "*" {
            return Ok(Self::Everyone);
        }
        // What passwd(5) and group(5) can hold, and nothing that was meant otherwise.
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || ":@*,/".contains(c)) {
            return Err(refused());
        }
        let number = name.bytes().all(|byte| byte.is_ascii_digit());
        // The greatest number means nobody to the kernel.
        let id = || name.parse().ok().filter(|&id| id != u32::MAX).ok_or_else(refused);
        Ok(match (is_group, number) {
            (false, false) => Self::User(name.to_owned()),
            (false, true) => Self::Uid(id()?),
            (true, false) => Self::Group(name.to_owned()),
            (true, true) => Self::Gid(id()?),
        })
    }
}

impl TryFrom<String> for Principal {
    type Error = NoPrincipal;

    fn try_from(text: String) -> Result<Self, NoPrincipal> {
        text.parse()
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everyone => f.write_str("*"),
            Self::User(name) => f.write_str(name),
            Self::Uid(uid) => uid.fmt(f),
            Self::Group(name) => write!(f, "@{name}"),
            Self::Gid(gid) => write!(f, "@{gid}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_is_a_user_a_group_or_everyone() {
        for (text, principal) in [
            ("*", Principal::Everyone),
            ("alice", Principal::User("alice".into())),
            ("0", Principal::Uid(0)),
            ("@staff", Principal::Group("staff".into())),
            ("@4294967294", Principal::Gid(4_294_967_294)),
            ("domain\\carol$", Principal::User("domain\\carol$".into())),
        ] {
            assert_eq!(text.parse(), Ok(principal.clone()));
            assert_eq!(principal.to_string(), text);
        }
        for text in ["", "@", "@@x", "@*", "**", "a b", "a:b", "a,b", "4294967295", "99999999999", "x\n"] {
            let error = text.parse::<Principal>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text:?} names nobody; write a user")), "{error}");
        }
    }

    #[test]
    fn each_role_may_do_what_those_before_it_may() {
        assert!(Role::ALL.is_sorted());
        assert_eq!(Role::ALL.map(Role::name), ["read", "write", "admin"]);
        for role in Role::ALL {
            assert_eq!(serde_json::to_value(role).unwrap(), role.name());
        }
    }
}
