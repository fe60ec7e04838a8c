//! The writable truth about the virtual machines the box knows.

pub mod lines;
pub mod record;
pub mod registry;
