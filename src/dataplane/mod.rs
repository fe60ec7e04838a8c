//! Frames in, frames out: takes a burst through `port` → `packet` → `policy` → `port`. Knows nothing of commands.

mod pipeline;
mod worker;

pub use pipeline::{Pipeline, filter_burst};
pub use worker::{Lane, Worker};
