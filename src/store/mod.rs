//! What outlasts the process: every VM and the revision, in two files that say the same.
//!
//! | file | what it is |
//! |---|---|
//! | [`record`] | a VM as its bytes on disk |
//! | [`file`](mod@file) | one database file: made, written, read, examined |
//! | [`open`](mod@open) | the start: both files are examined, one is believed, what is damaged is set aside |
//! | [`writer`] | the thread that writes: a group of changes at a time, to both files |
//!
//! A change is durable when one file has it; the start believes the file with the higher revision. A file that cannot be
//! written while the other can is removed at once, since an old state could free a VM that was restricted since, and is
//! made anew from the other one.
//!
//! The database ([`redb`]) keeps the last commit whole whenever the process ends. What it does not promise is to survive
//! bytes that somebody else changed: it may panic on them. So files are examined by a process of their own before the
//! daemon opens them.

pub mod file;
pub mod open;
pub mod record;
pub mod writer;

#[cfg(test)]
mod tests;
