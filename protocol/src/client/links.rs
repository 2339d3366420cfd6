//! One link to one replica: dialling, handshake, pings, and dialling again.

use std::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;

use super::event::SuspectReason;
use super::options::EndpointOptions;
use super::status::LinkState;
use crate::auth::{ClientHandshake, ClientIdentity, ClientLink, LinkError, Verified, VerifyError};
use crate::membership::View;
use crate::time::Instant;
use crate::wire::limits::MAX_CLIENT_FRAME;
use crate::wire::{
    ClientFrame, ClientHeader, Frame, HelloRefusal, ReplicaFrame, ReplicaHeader, Welcome,
};

/// What a link is doing.
#[derive(Debug)]
enum State {
    Closed,
    Waiting { retry_at: Instant },
    Dialling { give_up_at: Instant },
    Handshake { give_up_at: Instant, handshake: ClientHandshake },
    Open(Open),
}

/// An established link.
#[derive(Debug)]
struct Open {
    link: ClientLink,
    since: Instant,
    heard: Instant,
    ping_at: Instant,
    /// The latest ping, until it is answered.
    ping: Option<(u64, Instant)>,
}

/// What a message on a link turned out to be.
#[derive(Debug)]
pub(super) enum Incoming {
    /// The link is open.
    Opened(Verified<Welcome>),
    /// A frame.
    Frame(Verified<ReplicaFrame>),
    /// The link cannot go on. The reason, if it speaks against the replica.
    Broken(Option<SuspectReason>),
    /// Nothing was expected: left over from an earlier socket.
    Unexpected,
}

/// What a link wants at its deadline.
#[derive(Debug)]
pub(super) enum Due {
    Nothing,
    /// Dial.
    Open,
    /// Send a ping.
    Ping(Bytes),
    /// It is dead: close it.
    Dead,
}

/// The link to one member.
#[derive(Debug)]
pub(super) struct Link {
    state: State,
    /// Attempts since a link last held.
    attempts: u32,
    pings: u64,
    pub(super) rtt: Option<Duration>,
    pub(super) refused: Option<HelloRefusal>,
}

impl Link {
    pub(super) const fn new() -> Self {
        Self { state: State::Closed, attempts: 0, pings: 0, rtt: None, refused: None }
    }

    pub(super) const fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    pub(super) const fn state(&self) -> LinkState {
        match &self.state {
            State::Closed => LinkState::Closed,
            State::Waiting { retry_at } => LinkState::Waiting { retry_at: *retry_at },
            State::Dialling { .. } | State::Handshake { .. } => LinkState::Connecting,
            State::Open(_) => LinkState::Open,
        }
    }

    /// Does the driver hold, or try to open, a socket for it?
    pub(super) const fn has_socket(&self) -> bool {
        !matches!(self.state, State::Closed | State::Waiting { .. })
    }

    pub(super) fn dial(&mut self, now: Instant, options: &EndpointOptions) {
        self.state = State::Dialling { give_up_at: now + options.connect_timeout };
    }

    /// Is it waiting for its next attempt? Then that is due at once, and counts as the first.
    pub(super) const fn hurry(&mut self, now: Instant) {
        match &mut self.state {
            State::Waiting { retry_at } => {
                *retry_at = now;
                self.attempts = 0;
            }
            State::Open(open) => open.ping_at = now,
            State::Closed | State::Dialling { .. } | State::Handshake { .. } => {}
        }
    }

    /// The socket is open: the first message of the handshake.
    pub(super) fn begin(
        &mut self,
        view: &View,
        replica: usize,
        identity: &ClientIdentity,
        rng: &mut ChaCha20Rng,
    ) -> Option<Bytes> {
        let State::Dialling { give_up_at } = self.state else { return None };
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let (handshake, hello) = ClientHandshake::begin(view, replica, identity, seed);
        self.state = State::Handshake { give_up_at, handshake };
        Some(hello.into())
    }

    /// A message.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        bytes: &Bytes,
        options: &EndpointOptions,
    ) -> Incoming {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Handshake { handshake, give_up_at } => {
                if bytes.len() > MAX_CLIENT_FRAME {
                    // `lose` decides what comes next.
                    self.state = State::Dialling { give_up_at };
                    return Incoming::Broken(Some(SuspectReason::Protocol));
                }
                match handshake.finish(bytes) {
                    Ok((link, welcome)) => {
                        self.refused = None;
                        self.state = State::Open(Open {
                            link,
                            since: now,
                            heard: now,
                            ping_at: now + options.ping_interval,
                            ping: None,
                        });
                        Incoming::Opened(welcome)
                    }
                    Err(error) => {
                        self.state = State::Dialling { give_up_at };
                        Incoming::Broken(match error {
                            LinkError::Refused(refusal) => {
                                self.refused = Some(refusal);
                                None
                            }
                            LinkError::Malformed(_) => Some(SuspectReason::Protocol),
                            LinkError::Key => Some(SuspectReason::BadAuth),
                        })
                    }
                }
            }
            State::Open(mut open) => {
                let opened = open.link.open(bytes);
                if let Ok(frame) = &opened {
                    open.heard = now;
                    if let (ReplicaHeader::Pong { nonce, .. }, Some((sent, at))) =
                        (&frame.header, open.ping)
                        && *nonce == sent
                    {
                        self.rtt = Some(now.since(at));
                        open.ping = None;
                    }
                }
                self.state = State::Open(open);
                match opened {
                    Ok(frame) => Incoming::Frame(frame),
                    Err(VerifyError::Mac(_)) => Incoming::Broken(Some(SuspectReason::BadAuth)),
                    Err(VerifyError::Decode(_)) => Incoming::Broken(Some(SuspectReason::Protocol)),
                }
            }
            state => {
                self.state = state;
                Incoming::Unexpected
            }
        }
    }

    /// The bytes of a frame, if the link is open.
    pub(super) fn seal(&mut self, frame: &ClientFrame) -> Option<Bytes> {
        match &mut self.state {
            State::Open(open) => Some(open.link.seal(frame).into()),
            _ => None,
        }
    }

    /// The socket is gone or given up: the next attempt comes after a pause that doubles from
    /// one to the next, with jitter so that clients do not come back all at once.
    pub(super) fn lose(&mut self, now: Instant, options: &EndpointOptions, rng: &mut ChaCha20Rng) {
        // A link that held is no reason to wait long; one that breaks at once is.
        if let State::Open(open) = &self.state
            && now.since(open.since) >= options.backoff_max
        {
            self.attempts = 0;
        }
        let pause = options
            .backoff_min
            .saturating_mul(1 << self.attempts.min(20))
            .min(options.backoff_max.max(options.backoff_min));
        self.attempts = self.attempts.saturating_add(1);
        let micros = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
        let jitter = rng.next_u64() % (micros / 2 + 1);
        let retry_at = now + Duration::from_micros(micros - jitter);
        self.state = State::Waiting { retry_at };
        self.rtt = None;
    }

    pub(super) fn close(&mut self) {
        self.state = State::Closed;
        self.rtt = None;
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Closed => None,
            State::Waiting { retry_at } => Some(*retry_at),
            State::Dialling { give_up_at } | State::Handshake { give_up_at, .. } => {
                Some(*give_up_at)
            }
            State::Open(open) => Some(open.ping_at),
        }
    }

    pub(super) fn due(&mut self, now: Instant, options: &EndpointOptions) -> Due {
        if self.next_deadline().is_none_or(|at| at > now) {
            return Due::Nothing;
        }
        match &mut self.state {
            State::Closed => Due::Nothing,
            State::Waiting { .. } => Due::Open,
            State::Dialling { .. } | State::Handshake { .. } => Due::Dead,
            State::Open(open) => {
                let silence = options.ping_interval.saturating_mul(3);
                if open.ping.is_some_and(|(_, at)| at > open.heard)
                    && now.since(open.heard) > silence
                {
                    return Due::Dead;
                }
                open.ping_at = now + options.ping_interval;
                self.pings += 1;
                open.ping = Some((self.pings, now));
                let ping = Frame::bare(ClientHeader::Ping { nonce: self.pings });
                Due::Ping(open.link.seal(&ping).into())
            }
        }
    }
}
