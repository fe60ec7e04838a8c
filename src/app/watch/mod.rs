//! What looks after the running box: its links, its threads, what signals ask for, and that its end comes.
//!
//! - [`link`]: what the ports of a link should be, as a function of what is known; [`links`]: the thread that makes it so
//! - [`pulse`]: a thread that has stopped turning; [`life`]: all of them, and what follows
//! - [`signals`]: what they do; [`steps`]: the stop, each step of which has an end; [`notify`]: what the supervisor hears

pub mod life;
pub mod link;
pub mod links;
pub mod notify;
pub mod pulse;
pub mod signals;
pub mod steps;
