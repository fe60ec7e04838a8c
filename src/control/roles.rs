//! Which role somebody has who connects: his user and groups, as the kernel says them, against `[control.roles]`.
//!
//! Names are looked up when he connects, in the thread of his connection: a directory that does not answer keeps nobody
//! else waiting, and who joins a group has its role with his next connection.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use super::history::Who;
use super::rpc::{Kind, RpcError};
use crate::model::{Principal, Role};

/// Who has which role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// Nothing: who may connect may do everything.
    given: Option<[(Role, Vec<Principal>); 3]>,
}

/// The process at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Whose process.
    pub uid: u32,
    /// The group it has now, besides those that its user has.
    pub gid: u32,
}

impl Roles {
    /// Nobody but those who are named, and always root and the user of this process.
    #[must_use]
    pub fn new(read: Vec<Principal>, write: Vec<Principal>, admin: Vec<Principal>) -> Self {
        Self { given: Some([(Role::Admin, admin), (Role::Write, write), (Role::Read, read)]) }
    }

    /// The greatest role that somebody has; none if nothing names him. May ask a directory, and wait for it.
    #[must_use]
    pub fn of(&self, process: Process) -> Option<Role> {
        let Some(given) = &self.given else { return Some(Role::Admin) };
        // Root could do everything another way, and so could who may stop this process and write its files.
        if process.uid == 0 || process.uid == Uid::effective().as_raw() {
            return Some(Role::Admin);
        }
        let mut groups = None;
        let mut is_in = |gid: u32| groups.get_or_insert_with(|| groups_of(process)).contains(&gid);
        let mut names = |principal: &Principal| match principal {
            Principal::Everyone => true,
            Principal::Uid(uid) => *uid == process.uid,
            Principal::User(name) => uid_of(name) == Some(process.uid),
            Principal::Gid(gid) => is_in(*gid),
            Principal::Group(name) => gid_of(name).is_some_and(&mut is_in),
        };
        given.iter().find(|(_, principals)| principals.iter().any(&mut names)).map(|&(role, _)| role)
    }

    /// Whom nobody knows at this moment: perhaps a slip, perhaps a directory that does not answer.
    #[must_use]
    pub fn unknown(&self) -> Vec<String> {
        let is_unknown = |principal: &&Principal| match principal {
            Principal::User(name) => uid_of(name).is_none(),
            Principal::Group(name) => gid_of(name).is_none(),
            Principal::Everyone | Principal::Uid(_) | Principal::Gid(_) => false,
        };
        let given = self.given.iter().flatten();
        given
            .flat_map(|(role, principals)| {
                let unknown = principals.iter().filter(is_unknown);
                unknown.map(move |principal| format!("`control.roles.{role}`: nobody is called {principal} here now"))
            })
            .collect()
    }
}

fn uid_of(name: &str) -> Option<u32> {
    Some(User::from_name(name).ok()??.uid.as_raw())
}

fn gid_of(name: &str) -> Option<u32> {
    Some(Group::from_name(name).ok()??.gid.as_raw())
}

/// The group of the process, and those of its user.
fn groups_of(Process { uid, gid }: Process) -> Vec<u32> {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    let listed = user.and_then(|user| {
        let name = CString::new(user.name).ok()?;
        getgrouplist(&name, user.gid).ok()
    });
    listed.into_iter().flatten().map(Gid::as_raw).chain([gid]).collect()
}

/// Why somebody may not do something.
pub(super) fn forbidden(what: &str, needs: Role, has: Option<Role>, who: Who) -> RpcError {
    let has_words = has.map_or_else(|| "none".to_owned(), |role| format!("`{role}`"));
    let message = format!(
        "{what} needs the role `{needs}` and user {} has {has_words}; `control.roles` of the configuration gives roles",
        who.uid
    );
    RpcError::new(Kind::Forbidden, message)
        .with("needs", needs.name())
        .with("role", has.map(Role::name))
        .with("uid", who.uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<Principal> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    /// Somebody whom no list names, and who is neither root nor we.
    const STRANGER: Process = Process { uid: 123_456, gid: 123_456 };

    #[test]
    fn without_lists_whoever_connects_may_do_everything() {
        assert_eq!(Roles::default().of(STRANGER), Some(Role::Admin));
        assert_eq!(Roles::new(vec![], vec![], vec![]).of(STRANGER), None);
    }

    #[test]
    fn root_and_who_runs_the_box_may_do_everything_whatever_the_lists_say() {
        let roles = Roles::new(list(&["*"]), vec![], vec![]);
        assert_eq!(roles.of(Process { uid: 0, gid: 7 }), Some(Role::Admin));
        assert_eq!(roles.of(Process { uid: Uid::effective().as_raw(), gid: 7 }), Some(Role::Admin));
        assert_eq!(roles.of(STRANGER), Some(Role::Read));
    }

    #[test]
    fn the_greatest_role_counts_by_user_or_group_by_name_or_number() {
        // Debian's base-passwd has these for good: nobody is 65534, daemon is user and group 1, sys is group 3.
        let roles = Roles::new(list(&["*"]), list(&["@daemon", "7"]), list(&["nobody", "@3"]));
        for (uid, gid, role) in [
            (65_534, 65_534, Role::Admin),
            (123_456, 3, Role::Admin),
            (123_456, 1, Role::Write),
            (1, 99, Role::Write), // The user daemon is in the group daemon, whichever group his process has.
            (7, 99, Role::Write),
            (3, 99, Role::Admin), // The user sys is in the group 3.
            (123_456, 123_456, Role::Read),
        ] {
            assert_eq!(roles.of(Process { uid, gid }), Some(role), "user {uid}, group {gid}");
        }
    }

    #[test]
    fn names_that_nobody_has_are_said() {
        let roles =
            Roles::new(list(&["nobody", "no-such-user"]), list(&["@no-such-group", "@daemon", "12345678"]), vec![]);
        assert_eq!(
            roles.unknown(),
            [
                "`control.roles.write`: nobody is called @no-such-group here now",
                "`control.roles.read`: nobody is called no-such-user here now",
            ]
        );
        assert_eq!(roles.of(STRANGER), None);
    }
}
