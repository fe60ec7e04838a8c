//! What a supervisor that listens (`Type=notify`) is told: ready, alive, stopping, and how it goes.
//!
//! From a thread of its own: a supervisor that does not read must not hold up whoever has something to tell. What it does
//! not take in time is left out; of a sign of life that is what it is for.

use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use sd_notify::NotifyState;

/// Messages that may wait.
const WAITING_MAX: usize = 8;

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Frames flow and the socket answers.
    Ready,
    /// Workers and the control loop turn.
    Alive,
    /// How it goes, for people.
    Status(String),
    /// The orderly stop has begun.
    Stopping,
}

/// The way to the supervisor.
#[derive(Clone, Debug)]
pub struct Notifier {
    messages: Option<Sender<Message>>,
    /// How often it wants a sign of life, at least; never, unless it said so.
    pub watchdog: Option<Duration>,
}

impl Notifier {
    /// To the supervisor that started us, if it listens.
    #[must_use]
    pub fn start() -> Self {
        let watchdog = sd_notify::watchdog_enabled();
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Self { messages: None, watchdog: None };
        }
        let (messages, waiting) = bounded(WAITING_MAX);
        let thread = std::thread::Builder::new().name("notify".into()).spawn(move || send(&waiting));
        Self { messages: thread.is_ok().then_some(messages), watchdog }
    }

    /// Tells it, without waiting.
    pub fn tell(&self, message: Message) {
        if let Some(messages) = &self.messages {
            let _ = messages.try_send(message); // See above.
        }
    }
}

fn send(messages: &Receiver<Message>) {
    for message in messages {
        let state = match &message {
            Message::Ready => NotifyState::Ready,
            Message::Alive => NotifyState::Watchdog,
            Message::Status(text) => NotifyState::Status(text),
            Message::Stopping => NotifyState::Stopping,
        };
        // A supervisor that is gone needs no telling.
        let _ = sd_notify::notify(&[state]);
    }
}
