//! What the box can say about itself: counters that workers write and anybody reads.

pub mod board;
pub mod counters;
pub mod denials;
pub mod drops;
pub mod heartbeat;
pub mod ledger;
pub mod load;
pub mod report;
mod since;
