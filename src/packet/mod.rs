//! Bytes of a frame → [`Packet`]: what the box can see. No policy, no panic, no allocation.

mod mac;

pub use mac::{MacAddr, MacAddrError};
