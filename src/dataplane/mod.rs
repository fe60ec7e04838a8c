//! Frames in, frames out: takes a burst through `port` → `packet` → `policy` → `port`. Knows nothing of commands.
//!
//! [`Worker`] goes round its links ([`LinkQueues`]); [`filter_burst`] judges one burst; [`Witness`] and [`Responder`] are who else has
//! a say.

mod hooks;
mod link;
mod pipeline;
mod reject;
mod sample;
mod worker;

#[cfg(test)]
mod tests;

#[cfg(feature = "testkit")]
pub use hooks::{Answered, Responder, Witness};
pub use link::{LinkQueues, QueuePair};
pub use pipeline::Pipeline;
#[cfg(feature = "testkit")]
pub use pipeline::filter_burst;
pub use reject::Rejecter;
pub use sample::Sampler;
pub use worker::Worker;
