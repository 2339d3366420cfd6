//! The session under which requests are numbered (rule A9), and its renewal when it expires.

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;

use super::calls::{Purpose, Stage};
use super::event::{CallError, CallId, Outcome};
use super::proxy::ServiceProxy;
use super::table::Table;
use crate::membership::{ReplicaSet, SessionId};
use crate::time::{Instant, UnixMicros};
use crate::wire::limits::SESSION_WINDOW;
use crate::wire::{ClientHeader, Frame};

/// A session: its name, its birth and its numbers.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    /// The birth time of number 1, once it has been sent.
    pub(super) born: Option<UnixMicros>,
    /// The next number to give out.
    pub(super) next: u64,
    /// Numbers sent and not known to be ordered, calls that were given up included: until they
    /// are ordered, nothing after them is.
    pub(super) in_flight: Table<u64, CallId>,
    /// Replicas that say that the session has expired.
    pub(super) expired: ReplicaSet,
    /// The number of the last announcement.
    pub(super) announced: u64,
}

impl Session {
    pub(super) fn new(rng: &mut ChaCha20Rng) -> Self {
        let mut id = [0; 16];
        rng.fill_bytes(&mut id);
        Self {
            id: SessionId(id),
            born: None,
            next: 1,
            in_flight: Table::default(),
            expired: ReplicaSet::EMPTY,
            announced: 0,
        }
    }

    /// May another number be sent (rule A10)?
    fn has_room(&self) -> bool {
        let lowest = self.in_flight.first().unwrap_or(self.next);
        self.next < lowest.saturating_add(SESSION_WINDOW)
    }
}

impl ServiceProxy {
    /// Sends queued calls as far as links and the session's window allow.
    pub(super) fn pump(&mut self, now: Instant) {
        if self.open().len() < self.group.quorums.quorum() {
            return;
        }
        while self.session.has_room() && !self.queue.is_empty() {
            if self.session.born.is_none() {
                let Some(born) = self.birth() else { return };
                self.session.born = Some(born);
            }
            if let Some(call) = self.queue.pop_front() {
                let number = self.session.next;
                self.session.next += 1;
                self.send_numbered(now, call, number);
            }
        }
    }

    /// A birth time for the session: just after the (f + 1)-th smallest of the times that a
    /// quorum of replicas reported, which is not before the earliest and not after the latest of
    /// the correct ones among them. After it, because a session must be younger than whatever was
    /// evicted at that time.
    fn birth(&self) -> Option<UnixMicros> {
        let times: Vec<UnixMicros> =
            self.replicas.iter().filter(|r| r.open).filter_map(|r| r.time).collect();
        if times.len() < self.group.quorums.quorum() {
            return None;
        }
        let f = self.group.quorums.f();
        let not_above = |time: &UnixMicros| times.iter().filter(|&other| other <= time).count();
        let time = times.iter().filter(|time| not_above(time) > f).min()?;
        Some(*time + Duration::from_micros(1))
    }

    /// A replica says that the current session has expired. At f + 1 it has: what was in flight
    /// and may have had effects fails, what has none is asked anew in a new session.
    pub(super) fn hear_expired(&mut self, now: Instant, replica: usize) {
        self.session.expired.insert(replica);
        if self.session.expired.len() >= self.group.quorums.one_correct() {
            self.renew_session(now, &CallError::SessionExpired);
        }
    }

    /// Begins a new session; calls of the old one that cannot move fail with `error`.
    pub(super) fn renew_session(&mut self, now: Instant, error: &CallError) {
        let fresh = Session::new(&mut self.rng);
        let old = std::mem::replace(&mut self.session, fresh);
        // The new session's birth must be known to lie after whatever expired the old one.
        for replica in 0..self.replicas.len() {
            self.replicas[replica].time = None;
            self.send(replica, Frame::bare(ClientHeader::Ping { nonce: 0 }));
        }
        let mut moved = Vec::new();
        for call in old.in_flight.into_values() {
            let Some(state) = self.calls.get_mut(&call) else { continue };
            match state.purpose {
                Purpose::Invoke if state.wanted => {
                    self.fail(call, error.clone(), Outcome::Unknown);
                    self.drop_call(call);
                }
                Purpose::Query | Purpose::Subscribe | Purpose::Unsubscribe { .. }
                    if state.wanted =>
                {
                    state.stage = Stage::Queued;
                    self.timers.cancel_attempt(call);
                    moved.push(call);
                }
                _ => self.drop_call(call),
            }
        }
        for call in moved.into_iter().rev() {
            self.queue.push_front(call);
        }
        self.resubscribe();
        self.pump(now);
    }
}
