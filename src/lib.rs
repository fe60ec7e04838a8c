//! Portcullis: a mail-port firewall between a hosting grid's virtual machines and the uplink.
#![deny(unsafe_code)]

pub mod app;
pub mod cli;
pub mod config;
pub mod control;
pub mod cpu;
pub mod dataplane;
pub mod exit;
pub mod packet;
pub mod policy;
pub mod port;
pub mod suggest;
pub mod telemetry;
#[doc(hidden)]
pub mod testkit;
pub mod vm;
