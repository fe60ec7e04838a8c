//! What the ports of links last said of themselves, where anybody may look: whoever asks drivers writes it here, so that a
//! driver that hangs holds up nobody else.

use std::sync::{Mutex, PoisonError};

use super::ledger::LinkPorts;
use crate::model::LinkIndex;

/// Every port of every link.
#[derive(Debug)]
pub struct Board(Vec<Mutex<LinkPorts>>);

impl Board {
    /// For so many links, of which nothing is known.
    #[must_use]
    pub fn new(links: usize) -> Self {
        Self((0..links).map(|_| Mutex::default()).collect())
    }

    /// What is known of a link's ports.
    #[must_use]
    pub fn link(&self, link: LinkIndex) -> LinkPorts {
        self.0.get(link.0).map(|ports| ports.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap_or_default()
    }

    /// Replaces it.
    pub fn put(&self, link: LinkIndex, ports: LinkPorts) {
        if let Some(known) = self.0.get(link.0) {
            *known.lock().unwrap_or_else(PoisonError::into_inner) = ports;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::report::PortState;

    #[test]
    fn what_is_put_is_found_and_a_link_that_is_not_there_changes_nothing() {
        let board = Board::new(1);
        let inside = PortState { rx_tags_restored: 7, ..PortState::default() };
        let ports = LinkPorts { inside, outside: PortState::default() };
        board.put(LinkIndex(0), ports.clone());
        board.put(LinkIndex(1), ports.clone());
        assert_eq!(board.link(LinkIndex(0)), ports);
        assert_eq!(board.link(LinkIndex(1)), LinkPorts::default());
    }
}
