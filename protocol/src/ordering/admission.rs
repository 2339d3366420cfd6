//! Admission (rules A1 to A10): which requests may be ordered.
//!
//! Requests travel from the client to every replica; replicas tell each other which digests they
//! could verify. A request is admitted while 2f + 1 replicas vouch for it, this one among them,
//! and its body is held. No client can frame a leader, no leader can forge a client.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::pending::{Body, Candidate, PendingNumber, PendingSession};
use super::vouching::{NewSessions, Outbox};
use super::wanted::{Patience, Wanted, WantedBodies};
use crate::execution::Sessions;
use crate::membership::{Digest, Quorums, ReplicaSet};
use crate::time::UnixMicros;
use crate::wire::limits::{MAX_BATCH_BYTES, MAX_BATCH_REQUESTS, SESSION_WINDOW};
use crate::wire::{BatchEntry, Refusal, Request, RequestId, SessionKey, Vouch, VouchGroup};

/// Quotas on what this replica vouches for directly (rule A10). The same at all replicas: what a
/// peer may vouch for follows from them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmissionConfig {
    /// New sessions of one client that may be pending.
    pub new_sessions_per_client: usize,
    /// New sessions that may be pending in all.
    pub new_sessions: usize,
    /// How far a session's birth may lie ahead of this replica's clock.
    pub max_drift: Duration,
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self { new_sessions_per_client: 16, new_sessions: 8192, max_drift: Duration::from_secs(5) }
    }
}

/// A peer vouched for more than any correct replica can: it misbehaved (rule A10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VouchFault {
    /// More than n − f digests under one number.
    #[error("vouches for too many digests of one request number")]
    Digests,
    /// More new sessions than n correct replicas together vouch for.
    #[error("vouches for too many new sessions")]
    Sessions,
}

/// The admission state machine.
#[derive(Debug)]
pub struct Admission {
    me: usize,
    quorums: Quorums,
    config: AdmissionConfig,
    /// May this replica vouch? Not while it is a learner (rule D3).
    vouching: bool,
    pending: BTreeMap<SessionKey, PendingSession>,
    /// Pending new sessions by who vouches for their number 1; position `me` is this replica.
    new_sessions: Vec<NewSessions>,
    /// Admitted requests in order of admission; a session's numbers ascend. Entries go stale
    /// when they are ordered or lose a voucher; readers check.
    queue: VecDeque<RequestId>,
    outbox: Outbox,
    /// Digests that f + 1 replicas vouch for and whose bodies are missing.
    wanted: WantedBodies,
    /// Peers some of whose vouches had to be ignored because this replica lags (rule A3).
    ignored: ReplicaSet,
    /// Sessions in which a request has been admitted since they were asked for.
    newly_admitted: Vec<SessionKey>,
    /// New sessions that can no longer begin, and about which clients' links have to be told.
    expired: Vec<SessionKey>,
}

impl Admission {
    /// Nothing pending.
    #[must_use]
    pub fn new(me: usize, quorums: Quorums, vouching: bool, config: AdmissionConfig) -> Self {
        Self {
            me,
            quorums,
            config,
            vouching,
            pending: BTreeMap::new(),
            new_sessions: (0..quorums.n()).map(|_| NewSessions::default()).collect(),
            queue: VecDeque::new(),
            outbox: Outbox::default(),
            wanted: WantedBodies::default(),
            ignored: ReplicaSet::EMPTY,
            newly_admitted: Vec::new(),
            expired: Vec::new(),
        }
    }

    /// A request arrived from its client with a valid MAC (rule A1). `wall` is this replica's
    /// clock.
    ///
    /// # Errors
    /// Why this replica does not vouch for it directly; the client is told.
    pub fn handle_request(
        &mut self,
        body: Body,
        digest: Digest,
        wall: UnixMicros,
        sessions: &Sessions,
    ) -> Result<(), Refusal> {
        let id = body.request.id;
        let key = id.session_key();
        let last = sessions.last_number(&key);
        let number = self.pending.get(&key).and_then(|session| session.numbers.get(&id.number));
        let vouched_by_others = number
            .and_then(|number| number.candidate(&digest))
            .is_some_and(|candidate| candidate.ever.len() >= self.quorums.one_correct());
        if !vouched_by_others {
            match number.and_then(|number| number.direct) {
                Some(direct) if direct == digest => return Ok(()),
                Some(_) => return Err(Refusal::Equivocation),
                None => self.check_quotas(&body.request, last, wall, sessions)?,
            }
        }
        if last.is_none() && id.number == 1 {
            self.new_sessions[self.me].insert(body.request.born, key);
        }
        let number = self.number_mut(id, last);
        number.direct.get_or_insert(digest);
        number.candidate_or_new(digest).body.get_or_insert(body);
        self.vouch(id, digest, sessions);
        Ok(())
    }

    fn check_quotas(
        &self,
        request: &Request,
        last: Option<u64>,
        wall: UnixMicros,
        sessions: &Sessions,
    ) -> Result<(), Refusal> {
        let number = request.id.number;
        let key = request.id.session_key();
        let known = last.is_some() || self.new_sessions[self.me].contains(&key);
        // Nothing of an unknown session born at or before the horizon can be ordered any more
        // (rule A9), however far its numbers have come. Born later, it may be that this replica
        // has not executed number 1 yet.
        if !known && request.born <= sessions.horizon() {
            return Err(Refusal::SessionExpired);
        }
        if !known && number > 1 {
            return Err(Refusal::NotBegun);
        }
        if number > last.unwrap_or(0) + SESSION_WINDOW {
            return Err(Refusal::Window);
        }
        if known {
            return Ok(());
        }
        if request.born > wall + self.config.max_drift {
            return Err(Refusal::BornInFuture);
        }
        let mine = &self.new_sessions[self.me];
        if mine.len() >= self.config.new_sessions
            || mine.of_client(request.id.client) >= self.config.new_sessions_per_client
        {
            return Err(Refusal::Sessions);
        }
        Ok(())
    }

    /// Vouches arrived from a peer. `replace`: they begin its complete current set (rule A3).
    ///
    /// # Errors
    /// Where the peer vouches for more than a correct replica can; what fits is kept.
    pub fn handle_vouches(
        &mut self,
        peer: usize,
        replace: bool,
        groups: &[VouchGroup],
        sessions: &Sessions,
    ) -> Result<(), VouchFault> {
        if replace {
            self.forget_peer(peer, sessions);
        }
        let mut outcome = Ok(());
        for group in groups {
            let last = sessions.last_number(&group.session_key());
            for vouch in group.vouches() {
                let born = if vouch.id.number == 1 { group.born } else { UnixMicros::ZERO };
                if let Err(fault) = self.handle_vouch(peer, vouch, born, last, sessions) {
                    outcome = Err(fault);
                }
            }
        }
        outcome
    }

    fn handle_vouch(
        &mut self,
        peer: usize,
        Vouch { id, digest }: Vouch,
        born: UnixMicros,
        last: Option<u64>,
        sessions: &Sessions,
    ) -> Result<(), VouchFault> {
        let key = id.session_key();
        if id.number <= last.unwrap_or(0) {
            return Ok(());
        }
        if id.number > last.unwrap_or(0) + SESSION_WINDOW {
            self.ignored.insert(peer);
            return Ok(());
        }
        if last.is_none() && !self.new_sessions[peer].contains(&key) {
            if id.number > 1 {
                // The peer knows the session: it is ahead of this replica, or was late.
                self.ignored.insert(peer);
                return Ok(());
            }
            if born <= sessions.horizon() {
                return Ok(());
            }
            if self.new_sessions[peer].len() >= self.config.new_sessions * self.quorums.n() {
                return Err(VouchFault::Sessions);
            }
            self.new_sessions[peer].insert(born, key);
        }
        let (me, one_correct) = (self.me, self.quorums.one_correct());
        let (most, enough) = (self.quorums.surely_answering(), self.quorums.vouchers());
        let number = self.number_mut(id, last);
        let known = number.candidate(&digest).is_some_and(|known| known.vouchers.contains(peer));
        if !known && number.vouched_by(peer) >= most {
            return Err(VouchFault::Digests);
        }
        let candidate = number.candidate_or_new(digest);
        let before = candidate.is_admitted(me, enough);
        candidate.vouchers.insert(peer);
        candidate.ever.insert(peer);
        let newly_admitted = !before && candidate.is_admitted(me, enough);
        let (ever, held) = (candidate.ever.len(), candidate.body.is_some());
        if ever >= one_correct && !candidate.vouchers.contains(me) {
            if held {
                self.vouch(id, digest, sessions);
            } else if ever == one_correct {
                self.wanted.insert(id, digest);
            }
        }
        if newly_admitted {
            self.handle_admitted(key, sessions);
        }
        Ok(())
    }

    /// A body arrived from a peer, asked for or not. It counts where f + 1 replicas vouch for its
    /// digest (rule A1); false where nobody wanted it.
    pub fn handle_body(&mut self, bytes: &Bytes, sessions: &Sessions) -> bool {
        let Ok(request) = Request::decode(bytes) else { return false };
        let (id, digest) = (request.id, Request::digest(bytes));
        let needed = self.quorums.one_correct();
        let Some(candidate) = self
            .pending
            .get_mut(&id.session_key())
            .and_then(|session| session.numbers.get_mut(&id.number))
            .and_then(|number| number.candidate_mut(&digest))
            .filter(|candidate| candidate.ever.len() >= needed)
        else {
            return false;
        };
        candidate.body.get_or_insert(Body { bytes: bytes.clone(), request });
        self.wanted.remove(id, digest);
        self.vouch(id, digest, sessions);
        true
    }

    /// From now on this replica vouches: for all it has verified so far, too.
    pub fn begin_vouching(&mut self, sessions: &Sessions) {
        self.vouching = true;
        let keys: Vec<SessionKey> = self.pending.keys().copied().collect();
        for key in keys {
            self.vouch_for_session(&key, sessions);
        }
    }

    /// From now on this replica does not vouch for anything new (rule D3).
    pub const fn end_vouching(&mut self) {
        self.vouching = false;
    }

    /// The state was replaced by another one (rule C7): drops what that has ordered, evicted or
    /// let expire, as rule A8 asks. Anything may have been ignored before: all peers are to be
    /// asked for their complete sets (rule A3).
    pub fn handle_restored(&mut self, sessions: &Sessions) {
        let keys: Vec<SessionKey> = self.pending.keys().copied().collect();
        for key in keys {
            let last = sessions.last_number(&key);
            if last.is_some() {
                for new_sessions in &mut self.new_sessions {
                    new_sessions.remove(&key);
                }
            } else if !self.new_sessions.iter().any(|known| known.contains(&key)) {
                self.drop_session(&key);
            }
            self.drop_ordered(key, last.unwrap_or(0));
        }
        self.expire(sessions);
        self.queue.clear();
        let keys: Vec<SessionKey> = self.pending.keys().copied().collect();
        for key in keys {
            if let Some(session) = self.pending.get_mut(&key) {
                session.queued = sessions.last_number(&key).unwrap_or(0);
            }
            self.queue_admitted(key, sessions);
            self.vouch_for_session(&key, sessions);
        }
        self.ignored = ReplicaSet::first(self.quorums.n()).without(self.me);
    }

    /// Drops a session's numbers up to `last`.
    fn drop_ordered(&mut self, key: SessionKey, last: u64) {
        let Some(session) = self.pending.get_mut(&key) else { return };
        while let Some(first) = session.numbers.first_entry()
            && *first.key() <= last
        {
            let (number, dropped) = first.remove_entry();
            for candidate in dropped.candidates {
                self.wanted.remove(key.request(number), candidate.digest);
            }
        }
        if session.numbers.is_empty() {
            self.pending.remove(&key);
        }
    }

    /// Drops new sessions whose birth fell behind the horizon.
    fn expire(&mut self, sessions: &Sessions) {
        for peer in 0..self.new_sessions.len() {
            for key in self.new_sessions[peer].expire(sessions.horizon()) {
                self.retract(&key, peer, false);
                if peer == self.me {
                    self.expired.push(key);
                }
            }
        }
    }

    /// New sessions of which this replica had verified number 1, and which can no longer begin.
    /// Forgets them.
    pub fn take_expired(&mut self) -> Vec<SessionKey> {
        std::mem::take(&mut self.expired)
    }

    /// Vouches for a digest whose body is held; tells the peers once.
    fn vouch(&mut self, id: RequestId, digest: Digest, sessions: &Sessions) {
        self.wanted.remove(id, digest);
        if !self.vouching {
            return;
        }
        let me = self.me;
        let key = id.session_key();
        let last = sessions.last_number(&key);
        if id.number > 1 && last.is_none() && !self.new_sessions[me].contains(&key) {
            // Others ignore it until this replica vouches for number 1, and would ask for ever.
            return;
        }
        let enough = self.quorums.vouchers();
        let candidate = self.number_mut(id, last).candidate_or_new(digest);
        if candidate.vouchers.contains(me) {
            return;
        }
        candidate.vouchers.insert(me);
        candidate.ever.insert(me);
        let born = claimed_birth(id.number, candidate);
        let admitted = candidate.is_admitted(me, enough);
        if last.is_none() && id.number == 1 {
            self.new_sessions[me].insert(born, id.session_key());
        }
        self.outbox.push(Vouch { id, digest }, born);
        if admitted {
            self.handle_admitted(key, sessions);
        }
        if id.number == 1 {
            self.vouch_for_session(&key, sessions);
        }
    }

    /// Vouches for everything in a session that may be vouched for: what was verified directly,
    /// and what f + 1 replicas vouch for.
    fn vouch_for_session(&mut self, key: &SessionKey, sessions: &Sessions) {
        let needed = self.quorums.one_correct();
        let Some(session) = self.pending.get(key) else { return };
        let mut held = Vec::new();
        for (&number, pending) in &session.numbers {
            for candidate in &pending.candidates {
                let direct = pending.direct == Some(candidate.digest);
                let vouched = candidate.vouchers.contains(self.me);
                if candidate.body.is_some()
                    && !vouched
                    && (direct || candidate.ever.len() >= needed)
                {
                    held.push((key.request(number), candidate.digest));
                }
            }
        }
        for (id, digest) in held {
            self.vouch(id, digest, sessions);
        }
    }

    /// A batch was executed: drops what it ordered, what belonged to evicted sessions, and new
    /// sessions whose birth fell behind the horizon (rule A8). Nothing else is ever dropped.
    pub fn handle_executed(
        &mut self,
        entries: &[BatchEntry],
        evicted: &[SessionKey],
        sessions: &Sessions,
    ) {
        for entry in entries {
            let key = entry.id.session_key();
            if entry.id.number == 1 {
                for new_sessions in &mut self.new_sessions {
                    new_sessions.remove(&key);
                }
            }
            self.drop_ordered(key, entry.id.number);
            if let Some(session) = self.pending.get_mut(&key) {
                session.queued = session.queued.max(entry.id.number);
                self.queue_admitted(key, sessions);
                if entry.id.number == 1 {
                    self.vouch_for_session(&key, sessions);
                }
            }
        }
        for key in evicted {
            self.drop_session(key);
        }
        self.expire(sessions);
        while self.queue.front().is_some_and(|id| {
            let key = id.session_key();
            !self.pending.contains_key(&key)
                || sessions.last_number(&key).is_some_and(|last| id.number <= last)
        }) {
            self.queue.pop_front();
        }
    }

    /// What the member at `peer` vouched for no longer counts; what it ever vouched for does.
    fn forget_peer(&mut self, peer: usize, sessions: &Sessions) {
        self.new_sessions[peer] = NewSessions::default();
        self.ignored.remove(peer);
        let keys: Vec<SessionKey> = self.pending.keys().copied().collect();
        for key in keys {
            self.retract(&key, peer, true);
            self.queue_admitted(key, sessions);
        }
    }

    /// Takes a member's vouches out of one session. `remember`: what f + 1 replicas ever vouched
    /// for, or what is held, may still be proposed (rule A7).
    fn retract(&mut self, key: &SessionKey, peer: usize, remember: bool) {
        let needed = self.quorums.one_correct();
        let wanted = &mut self.wanted;
        let Some(session) = self.pending.get_mut(key) else { return };
        session.numbers.retain(|&number, pending| {
            pending.candidates.retain_mut(|candidate| {
                candidate.vouchers.remove(peer);
                let keep = !candidate.vouchers.is_empty()
                    || (remember && (candidate.ever.len() >= needed || candidate.body.is_some()));
                if !keep {
                    wanted.remove(key.request(number), candidate.digest);
                }
                keep
            });
            !pending.candidates.is_empty()
        });
        if session.numbers.is_empty() {
            self.pending.remove(key);
        }
    }

    fn drop_session(&mut self, key: &SessionKey) {
        for new_sessions in &mut self.new_sessions {
            new_sessions.remove(key);
        }
        if let Some(session) = self.pending.remove(key) {
            for (number, pending) in session.numbers {
                for candidate in pending.candidates {
                    self.wanted.remove(key.request(number), candidate.digest);
                }
            }
        }
    }

    fn number_mut(&mut self, id: RequestId, last: Option<u64>) -> &mut PendingNumber {
        let session = self.pending.entry(id.session_key()).or_insert_with(|| PendingSession {
            queued: last.unwrap_or(0),
            ..PendingSession::default()
        });
        session.numbers.entry(id.number).or_default()
    }

    /// The digest of a number that is admitted.
    fn admitted<'a>(&self, number: &'a PendingNumber) -> Option<(Digest, &'a Body)> {
        let enough = self.quorums.vouchers();
        let mut candidates = number.candidates.iter();
        let admitted = candidates.find(|known| known.is_admitted(self.me, enough))?;
        admitted.body.as_ref().map(|body| (admitted.digest, body))
    }

    fn pending_number(&self, id: &RequestId) -> Option<&PendingNumber> {
        self.pending.get(&id.session_key())?.numbers.get(&id.number)
    }

    /// A request of this session has just been admitted.
    fn handle_admitted(&mut self, key: SessionKey, sessions: &Sessions) {
        self.newly_admitted.push(key);
        self.queue_admitted(key, sessions);
    }

    /// Sessions in which a request has been admitted: a leader timer may begin to run (rule A5).
    /// Forgets them.
    pub fn take_newly_admitted(&mut self) -> Vec<SessionKey> {
        std::mem::take(&mut self.newly_admitted)
    }

    /// Puts the session's next numbers into the queue as far as they are admitted.
    fn queue_admitted(&mut self, key: SessionKey, sessions: &Sessions) {
        let last = sessions.last_number(&key).unwrap_or(0);
        loop {
            let Some(session) = self.pending.get(&key) else { return };
            let next = session.queued.max(last) + 1;
            let admitted =
                session.numbers.get(&next).is_some_and(|number| self.admitted(number).is_some());
            if !admitted {
                return;
            }
            self.queue.push_back(key.request(next));
            if let Some(session) = self.pending.get_mut(&key) {
                session.queued = next;
            }
        }
    }

    /// The next batch: admitted requests in order of admission, each session's numbers without a
    /// gap, within the caps (rule A6).
    pub fn next_batch(&mut self, sessions: &Sessions) -> Vec<BatchEntry> {
        let mut entries: Vec<BatchEntry> = Vec::new();
        let mut bytes = 0;
        let mut included: BTreeMap<SessionKey, u64> = BTreeMap::new();
        let mut stale = BTreeSet::new();
        for id in &self.queue {
            let key = id.session_key();
            let last = || sessions.last_number(&key).unwrap_or(0);
            let expected = included.get(&key).copied().unwrap_or_else(last) + 1;
            if id.number < expected {
                continue;
            }
            let admitted = self.pending_number(id).and_then(|number| self.admitted(number));
            let Some((digest, body)) = admitted.filter(|_| id.number == expected) else {
                stale.insert(key);
                continue;
            };
            bytes += body.bytes.len();
            if entries.len() == MAX_BATCH_REQUESTS || bytes > MAX_BATCH_BYTES {
                break;
            }
            included.insert(key, id.number);
            entries.push(BatchEntry { id: *id, digest });
        }
        for key in stale {
            // A voucher was lost since: back to waiting, behind the others.
            self.queue.retain(|id| id.session_key() != key);
            if let Some(session) = self.pending.get_mut(&key) {
                session.queued = sessions.last_number(&key).unwrap_or(0);
            }
            self.queue_admitted(key, sessions);
        }
        entries
    }

    /// May this replica write a batch that holds this entry? It has vouched itself or has ever
    /// received f + 1 vouches (rule A7); the body is asked for apart.
    #[must_use]
    pub fn may_write(&self, entry: &BatchEntry) -> bool {
        self.pending_number(&entry.id)
            .and_then(|number| number.candidate(&entry.digest))
            .is_some_and(|candidate| {
                candidate.vouchers.contains(self.me)
                    || candidate.ever.len() >= self.quorums.one_correct()
            })
    }

    /// The body of a request, where held.
    #[must_use]
    pub fn body(&self, id: &RequestId, digest: &Digest) -> Option<&Body> {
        self.pending_number(id)?.candidate(digest)?.body.as_ref()
    }

    /// The session's next number, where it is admitted: its leader timer runs (rule A5).
    #[must_use]
    pub fn admitted_next(&self, key: &SessionKey, sessions: &Sessions) -> Option<Vouch> {
        let id = key.request(sessions.last_number(key).unwrap_or(0) + 1);
        let (digest, _) = self.admitted(self.pending_number(&id)?)?;
        Some(Vouch { id, digest })
    }

    /// Sessions with something pending.
    pub fn sessions(&self) -> impl Iterator<Item = &SessionKey> {
        self.pending.keys()
    }

    /// Does the queue hold anything that may be ordered?
    #[must_use]
    pub fn has_admitted(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The oldest birth among the new sessions that this replica vouches for: once it is idle for
    /// long, an empty batch moves agreed time past it (rule A8).
    #[must_use]
    pub fn oldest_birth(&self) -> Option<UnixMicros> {
        self.new_sessions[self.me].oldest()
    }

    /// Are bodies missing that f + 1 replicas vouch for?
    #[must_use]
    pub fn wants_bodies(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// One tick of the fetch timer: gives the bodies that are to be asked for now.
    pub fn tick_wanted(&mut self, patience: impl Fn(&Vouch) -> Patience) -> Vec<Wanted> {
        let due = self.wanted.tick(patience);
        due.into_iter()
            .map(|(vouch, asked)| {
                let vouchers = self
                    .pending_number(&vouch.id)
                    .and_then(|number| number.candidate(&vouch.digest))
                    .map_or(ReplicaSet::EMPTY, |candidate| candidate.ever);
                Wanted { vouch, vouchers, asked }
            })
            .collect()
    }

    /// Peers to be asked for their complete sets, because some of their vouches came too early
    /// (rule A3). Forgets them.
    pub fn take_ignored(&mut self) -> ReplicaSet {
        std::mem::take(&mut self.ignored)
    }

    /// Are there peers some of whose vouches were ignored?
    #[must_use]
    pub const fn has_ignored(&self) -> bool {
        !self.ignored.is_empty()
    }

    /// This replica's complete current set, as frames (rule A3).
    #[must_use]
    pub fn complete_set(&self) -> Vec<Vec<VouchGroup>> {
        let me = self.me;
        let vouches = self.pending.iter().flat_map(|(key, session)| {
            session.numbers.iter().flat_map(move |(&number, pending)| {
                pending.candidates.iter().filter(move |known| known.vouchers.contains(me)).map(
                    move |candidate| {
                        let vouch = Vouch { id: key.request(number), digest: candidate.digest };
                        (vouch, claimed_birth(number, candidate))
                    },
                )
            })
        });
        Outbox::frames(vouches)
    }

    /// Vouches not yet sent to the leader / to the others.
    pub const fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }
}

/// The birth time that goes with a vouch: for number 1 only.
fn claimed_birth(number: u64, candidate: &Candidate) -> UnixMicros {
    let body = candidate.body.as_ref().filter(|_| number == 1);
    body.map_or(UnixMicros::ZERO, |body| body.request.born)
}
