//! Fast reads: answered without ordering, voted on (result, as of); else asked in order (R4).

use bytes::Bytes;

use super::calls::{Call, Purpose, Stage};
use super::event::{CallId, ClientEvent, SuspectReason};
use super::proxy::{Name, ServiceProxy};
use super::timers::Timer;
use super::votes::{Poll, Statement};
use crate::membership::{Cid, Digest, ReplicaSet};
use crate::time::Instant;
use crate::wire::{ClientHeader, Frame, Operation, Refusal};

/// A read that has been begun.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) nonce: u64,
    /// What the answer must include: matched by a quorum earlier, never one replica's claim (R3).
    min_cid: Cid,
    digest: Digest,
    pub(super) poll: Poll,
    /// Replicas to which it went.
    pub(super) sent: ReplicaSet,
    /// Replicas asked for the full result.
    asked: ReplicaSet,
}

impl ServiceProxy {
    /// Sends a call's query to all connected replicas.
    pub(super) fn begin_read(&mut self, now: Instant, id: CallId) {
        let nonce = self.next_nonce;
        self.next_nonce += 1;
        let full = self.choose_full(nonce);
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Operation::Query(query) = &call.operation else { return };
        call.stage = Stage::Reading(Read {
            nonce,
            min_cid: self.min_cid,
            digest: Digest::of(query),
            poll: Poll::new(self.group.n()),
            sent: ReplicaSet::EMPTY,
            asked: ReplicaSet::one(full),
        });
        self.nonces.insert(nonce, id);
        for replica in 0..self.group.n() {
            self.send_query(now, replica, id);
        }
    }

    fn send_query(&mut self, now: Instant, replica: usize, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let (Stage::Reading(read), Operation::Query(query)) = (&mut call.stage, &call.operation)
        else {
            return;
        };
        if !self.replicas[replica].open {
            return;
        }
        call.sent = true;
        let frame = Frame::with_digest(
            ClientHeader::Query {
                nonce: read.nonce,
                min_cid: read.min_cid,
                full: read.asked.contains(replica),
            },
            query.clone(),
            read.digest,
        );
        read.sent.insert(replica);
        // Before a quorum is connected, asking in order would not help either.
        if read.sent.len() >= self.group.quorums.quorum() {
            self.timers.set_once(Timer::ReadFallsBack(id), now + self.options.read_timeout);
        }
        self.send(replica, frame);
    }

    /// On a new link: the reads that the replica has not answered.
    pub(super) fn resend_queries(&mut self, now: Instant, replica: usize) {
        let reads: Vec<CallId> = self.nonces.values().copied().collect();
        for id in reads {
            if let Some(Call { stage: Stage::Reading(read), .. }) = self.calls.get(&id)
                && read.poll.vote(replica).is_none()
            {
                self.send_query(now, replica, id);
            }
        }
    }

    /// The reads that hoped for an answer of this replica.
    pub(super) fn reads_lose(&mut self, now: Instant) {
        let reads: Vec<CallId> = self.nonces.values().copied().collect();
        for id in reads {
            self.settle_read(now, id, false);
        }
    }

    /// An answer.
    pub(super) fn handle_query_reply(
        &mut self,
        now: Instant,
        replica: usize,
        nonce: u64,
        statement: Statement,
        body: Option<(Bytes, Digest)>,
    ) {
        let Some(&id) = self.nonces.get(&nonce) else {
            return self.handle_late(now, replica, Name::Read(nonce), statement);
        };
        let Some(Call { stage: Stage::Reading(read), .. }) = self.calls.get_mut(&id) else {
            return;
        };
        if !read.sent.contains(replica) {
            return;
        }
        let awaited = read.asked.contains(replica) && read.poll.vote(replica).is_none();
        let sound = read.poll.hear(replica, statement, body);
        let accuse = !sound && read.poll.accuse(replica);
        self.answered(replica);
        if accuse {
            self.accuse(now, replica, SuspectReason::Protocol, Some(id));
        }
        self.settle_read(now, id, awaited);
    }

    /// A refusal to answer.
    pub(super) fn handle_query_refused(
        &mut self,
        now: Instant,
        replica: usize,
        nonce: u64,
        refusal: Refusal,
    ) {
        let Some(&id) = self.nonces.get(&nonce) else { return };
        if let Some(Call { stage: Stage::Reading(read), .. }) = self.calls.get_mut(&id) {
            read.poll.refuse(replica, refusal);
            self.answered(replica);
            self.settle_read(now, id, false);
        }
    }

    /// Completes a read, or asks in order where no quorum can come about any more.
    fn settle_read(&mut self, now: Instant, id: CallId, awaited: bool) {
        let open = self.open();
        let needed = self.group.quorums.quorum();
        let Some(Call { stage: Stage::Reading(read), .. }) = self.calls.get_mut(&id) else {
            return;
        };
        if let Some(by) = read.poll.decide(needed) {
            if let Some(body) = read.poll.body(by.digest) {
                let (result, nonce) = (body.clone(), read.nonce);
                let evidence = read.poll.evidence(needed, self.group.view);
                self.min_cid = self.min_cid.max(by.cid);
                self.finish(now, id, Name::Read(nonce), by);
                self.events.push_back(ClientEvent::Completed { call: id, result, evidence });
                return;
            }
            let waits = read.asked.iter().any(|r| open.contains(r) && read.poll.vote(r).is_none());
            if waits {
                self.timers.set_once(Timer::BodyMissing(id), now + self.options.body_timeout);
            } else if awaited || !self.timers.is_set(Timer::BodyMissing(id)) {
                self.ask_for_answer(now, id);
            }
            return;
        }
        let voters = read.poll.voters();
        let outstanding =
            read.sent.iter().filter(|&r| open.contains(r) && !voters.contains(r)).count();
        let hopeless = read.sent.len() >= needed && read.poll.best() + outstanding < needed;
        if hopeless || read.poll.refusing().len() >= self.group.quorums.one_correct() {
            self.fall_back(now, id);
        }
    }

    /// A quorum agrees and the result is missing: asks one more replica, then gives up on the
    /// fast way. (The replica's state may have moved on, so that its answer helps only if it is
    /// still the same.)
    pub(super) fn ask_for_answer(&mut self, now: Instant, id: CallId) {
        let open = self.open();
        let Some(Call { stage: Stage::Reading(read), .. }) = self.calls.get_mut(&id) else {
            return;
        };
        let Some(by) = read.poll.decided() else { return };
        let next = read
            .poll
            .supporters(by)
            .iter()
            .find(|&replica| open.contains(replica) && !read.asked.contains(replica));
        match next {
            Some(replica) => {
                read.asked.insert(replica);
                self.timers.set(Timer::BodyMissing(id), now + self.options.body_timeout);
                self.send_query(now, replica, id);
            }
            None => self.fall_back(now, id),
        }
    }

    /// Asks in order.
    pub(super) fn fall_back(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Stage::Reading(read) = &call.stage else { return };
        debug_assert_eq!(call.purpose, Purpose::Query);
        self.nonces.remove(&read.nonce);
        call.stage = Stage::Queued;
        self.timers.cancel_attempt(id);
        self.queue.push_back(id);
        self.pump(now);
    }
}
