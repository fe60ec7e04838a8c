//! Portcullis: a mail-port firewall between a hosting grid's virtual machines and the uplink.
#![deny(unsafe_code)]

pub mod cpu;
pub mod packet;
pub mod policy;
pub mod vm;
