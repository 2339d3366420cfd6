//! Which transport the next attempt to reach a replica uses.

use crate::config::Transport;

/// Attempts after which a replica without WebSockets is tried over HTTP.
const ATTEMPTS: u32 = 2;

/// What actually carries a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkTransport {
    /// A WebSocket.
    WebSocket,
    /// HTTP: server-sent events one way, POST the other.
    Http,
}

/// What one replica's earlier attempts have taught.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice {
    transport: Transport,
    /// A WebSocket has opened once: what fails now is no reason to do without.
    websocket_opened: bool,
    /// WebSockets that failed since one was last preferred.
    failed: u32,
    /// HTTP has opened where WebSockets did not.
    http_opened: bool,
}

impl Choice {
    pub(super) const fn new(transport: Transport) -> Self {
        Self { transport, websocket_opened: false, failed: 0, http_opened: false }
    }

    pub(super) const fn next(&self) -> LinkTransport {
        match self.transport {
            Transport::WebSocket => LinkTransport::WebSocket,
            Transport::Http => LinkTransport::Http,
            Transport::Auto if self.websocket_opened => LinkTransport::WebSocket,
            Transport::Auto if self.http_opened || self.failed >= ATTEMPTS => LinkTransport::Http,
            Transport::Auto => LinkTransport::WebSocket,
        }
    }

    /// Is a WebSocket that does not open soon to give way to HTTP?
    pub(super) const fn impatient(&self) -> bool {
        matches!(self.transport, Transport::Auto) && !self.websocket_opened
    }

    pub(super) const fn opened(&mut self, transport: LinkTransport) {
        match transport {
            LinkTransport::WebSocket => self.websocket_opened = true,
            LinkTransport::Http => self.http_opened = true,
        }
    }

    /// An attempt came to nothing. `slow`: it failed because it took too long.
    pub(super) const fn failed(&mut self, transport: LinkTransport, slow: bool) {
        match transport {
            LinkTransport::WebSocket if slow => self.failed = ATTEMPTS,
            LinkTransport::WebSocket => self.failed = self.failed.saturating_add(1),
            // The replica is probably down: take turns, so that neither is given up.
            LinkTransport::Http if !self.http_opened => self.failed = ATTEMPTS - 1,
            LinkTransport::Http => {}
        }
    }

    /// The network is another one: what it could not carry may work now.
    pub(super) const fn reset(&mut self) {
        *self = Self::new(self.transport);
    }
}

#[cfg(test)]
mod tests {
    use super::LinkTransport::{Http, WebSocket};
    use super::*;

    #[test]
    fn two_failures_lead_to_http_which_stays_once_it_worked() {
        let mut choice = Choice::new(Transport::Auto);
        assert_eq!(choice.next(), WebSocket);
        choice.failed(WebSocket, false);
        assert_eq!(choice.next(), WebSocket);
        choice.failed(WebSocket, false);
        assert_eq!(choice.next(), Http);
        // Neither works: they take turns.
        choice.failed(Http, false);
        assert_eq!(choice.next(), WebSocket);
        choice.failed(WebSocket, false);
        assert_eq!(choice.next(), Http);
        choice.opened(Http);
        choice.failed(Http, false);
        assert_eq!(choice.next(), Http);
        choice.reset();
        assert_eq!(choice.next(), WebSocket);
    }

    #[test]
    fn one_that_takes_too_long_is_enough() {
        let mut choice = Choice::new(Transport::Auto);
        assert!(choice.impatient());
        choice.failed(WebSocket, true);
        assert_eq!(choice.next(), Http);
    }

    #[test]
    fn what_once_was_a_websocket_stays_one() {
        let mut choice = Choice::new(Transport::Auto);
        choice.opened(WebSocket);
        for _ in 0..5 {
            choice.failed(WebSocket, false);
        }
        assert_eq!(choice.next(), WebSocket);
        assert!(!choice.impatient());
    }

    #[test]
    fn a_forced_choice_is_kept() {
        for (forced, expected) in [(Transport::WebSocket, WebSocket), (Transport::Http, Http)] {
            let mut choice = Choice::new(forced);
            for _ in 0..5 {
                choice.failed(expected, true);
                assert_eq!(choice.next(), expected);
            }
            assert!(!choice.impatient());
        }
    }
}
