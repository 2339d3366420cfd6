//! Calls, and the ordered requests that most of them become.

use std::time::Duration;

use bytes::Bytes;

use super::event::{CallError, CallId, ClientEvent, Evidence, Outcome, SuspectReason};
use super::proxy::{Finished, Name, ServiceProxy};
use super::reads::Read;
use super::timers::Timer;
use super::votes::{Poll, Statement, Vote};
use crate::membership::{Digest, ReplicaSet, SessionId};
use crate::time::Instant;
use crate::wire::{
    ClientHeader, ExecutionResult, Frame, Operation, Refusal, Request, RequestId, Topic, decode,
    encode,
};

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// An operation of the application.
    Invoke,
    /// A read of the application: fast first, ordered if need be.
    Query,
    /// A subscription of the application, which has the call's id.
    Subscribe,
    /// The end of one.
    Unsubscribe {
        /// The subscription.
        subscription: CallId,
    },
    /// A subscription taken along into a new session.
    Resubscribe {
        /// The subscription.
        subscription: CallId,
    },
    /// Nobody waits for it: takes a number that was refused for good, shows whether the session is
    /// still known, or ends a subscription that was given up before the replicas agreed to it.
    Filler,
}

/// Where a call stands.
#[derive(Debug)]
pub(super) enum Stage {
    /// Waits for links, or for room in the session's window. Not sent.
    Queued,
    /// A fast read.
    Reading(Read),
    /// An ordered request.
    Ordered(Ordered),
}

/// A request that has been numbered and sent.
#[derive(Debug)]
pub(super) struct Ordered {
    pub(super) number: u64,
    bytes: Bytes,
    digest: Digest,
    pub(super) poll: Poll,
    /// Replicas asked for the full result.
    asked: ReplicaSet,
    retries: u32,
}

/// An unfinished call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) purpose: Purpose,
    pub(super) operation: Operation,
    /// Does the application still wait for it?
    pub(super) wanted: bool,
    /// Has it ever left this client?
    pub(super) sent: bool,
    pub(super) stage: Stage,
}

impl Call {
    pub(super) const fn poll(&self) -> Option<&Poll> {
        match &self.stage {
            Stage::Queued => None,
            Stage::Reading(read) => Some(&read.poll),
            Stage::Ordered(ordered) => Some(&ordered.poll),
        }
    }
}

impl ServiceProxy {
    /// A new call, not yet queued. `timeout` is `None` for those that nobody waits for.
    pub(super) fn add_call(
        &mut self,
        now: Instant,
        purpose: Purpose,
        operation: Operation,
        timeout: Option<Duration>,
    ) -> CallId {
        let id = CallId(self.next_call);
        self.next_call += 1;
        let wanted = timeout.is_some();
        self.calls
            .insert(id, Call { purpose, operation, wanted, sent: false, stage: Stage::Queued });
        if let Some(timeout) = timeout {
            self.pending += 1;
            self.timers.set(Timer::CallExpires(id), now + timeout);
        }
        id
    }

    /// Encodes a call's operation under a number and sends it to all connected replicas.
    pub(super) fn send_numbered(&mut self, now: Instant, id: CallId, number: u64) {
        let full = self.choose_full(number);
        let Some(call) = self.calls.get_mut(&id) else { return };
        let request = Request {
            service: self.group.service,
            id: RequestId { client: self.group.client, session: self.session.id, number },
            born: self.session.born.unwrap_or_default(),
            operation: call.operation.clone(),
        };
        let bytes = request.encode();
        let digest = Request::digest(&bytes);
        call.sent = true;
        call.stage = Stage::Ordered(Ordered {
            number,
            bytes,
            digest,
            poll: Poll::new(self.group.n()),
            asked: ReplicaSet::one(full),
            retries: 0,
        });
        self.session.in_flight.insert(number, id);
        for replica in 0..self.group.n() {
            self.send_request(replica, id);
        }
        self.timers.set(Timer::Retransmit(id), now + self.options.retransmit);
    }

    /// Sends or re-sends a request, always the same bytes.
    fn send_request(&mut self, replica: usize, id: CallId) {
        if let Some(Call { stage: Stage::Ordered(ordered), .. }) = self.calls.get(&id) {
            let frame = Frame::with_digest(
                ClientHeader::Request { full: ordered.asked.contains(replica) },
                ordered.bytes.clone(),
                ordered.digest,
            );
            self.send(replica, frame);
        }
    }

    /// On a new link: everything in flight, in the order of its numbers.
    pub(super) fn resend_requests(&mut self, replica: usize) {
        let calls: Vec<CallId> = self.session.in_flight.values().copied().collect();
        for call in calls {
            self.send_request(replica, call);
        }
    }

    /// Once more to those who have not replied, or may have more to say.
    pub(super) fn retransmit(&mut self, now: Instant, id: CallId) {
        let open = self.open();
        let Some(Call { stage: Stage::Ordered(ordered), .. }) = self.calls.get_mut(&id) else {
            return;
        };
        ordered.retries = (ordered.retries + 1).min(4);
        let pause = self.options.retransmit * (1 << ordered.retries);
        // Where a replica says that the session has expired, the others may have forgotten it since
        // they replied: they are asked, too.
        let expired = !self.session.expired.is_empty();
        let missing: Vec<usize> =
            open.iter().filter(|&replica| expired || !ordered.poll.has_stated(replica)).collect();
        for replica in missing {
            self.send_request(replica, id);
        }
        self.timers.set(Timer::Retransmit(id), now + pause);
    }

    /// A reply to an ordered request.
    pub(super) fn handle_reply(
        &mut self,
        now: Instant,
        replica: usize,
        (session, number): (SessionId, u64),
        statement: Statement,
        body: Option<(Bytes, Digest)>,
    ) {
        let id = match self.session.in_flight.get(&number) {
            Some(&id) if session == self.session.id => id,
            _ => return self.handle_late(now, replica, Name::Ordered(session, number), statement),
        };
        let Some(Call { stage: Stage::Ordered(ordered), .. }) = self.calls.get_mut(&id) else {
            return;
        };
        let awaited = ordered.asked.contains(replica) && ordered.poll.vote(replica).is_none();
        let sound = ordered.poll.hear(replica, statement, body);
        let accuse = !sound && ordered.poll.accuse(replica);
        self.answered(replica);
        // It knows the session, though it may have been behind before.
        self.session.expired.remove(replica);
        if accuse {
            self.accuse(now, replica, SuspectReason::Protocol, Some(id));
        }
        self.settle_ordered(now, id, awaited);
    }

    /// Completes an ordered call whose votes and body are there. `awaited`: the latest vote is the
    /// first one of a replica that was asked for the body.
    fn settle_ordered(&mut self, now: Instant, id: CallId, awaited: bool) {
        let (open, needed) = (self.open(), self.group.quorums.quorum());
        let Some(Call { stage: Stage::Ordered(ordered), .. }) = self.calls.get_mut(&id) else {
            return;
        };
        let Some(statement) = ordered.poll.decide(needed) else {
            // One correct replica says that the result is gone, and the others are too few to
            // agree on what it was.
            let forgotten = ordered.poll.forgotten();
            if forgotten.len() >= self.group.quorums.one_correct()
                && self.group.quorums.n() - forgotten.len() < needed
                && let Some(Vote::Says(by)) = forgotten.iter().find_map(|r| ordered.poll.vote(r))
            {
                let by = *by;
                ordered.poll.settle_on(by);
                let body = encode(&ExecutionResult::Forgotten);
                self.complete_ordered(now, id, by, &body);
            }
            return;
        };
        if let Some(body) = ordered.poll.body(statement.digest) {
            let body = body.clone();
            return self.complete_ordered(now, id, statement, &body);
        }
        // Wait a little for the replicas that were asked, if any of them may still answer.
        let hope = ordered.asked.iter().any(|r| open.contains(r) && ordered.poll.vote(r).is_none());
        if hope {
            self.timers.set_once(Timer::BodyMissing(id), now + self.options.body_timeout);
        } else if awaited || !self.timers.is_set(Timer::BodyMissing(id)) {
            self.ask_for_result(now, id);
        }
    }

    /// Asks another replica of those that agree for the result itself.
    pub(super) fn ask_for_result(&mut self, now: Instant, id: CallId) {
        let open = self.open();
        let Some(Call { stage: Stage::Ordered(ordered), .. }) = self.calls.get_mut(&id) else {
            return;
        };
        let Some(statement) = ordered.poll.decided() else { return };
        let supporters = ordered.poll.supporters(statement);
        let candidates = || supporters.iter().filter(|&replica| open.contains(replica));
        let next = candidates().find(|&replica| !ordered.asked.contains(replica));
        let next = next.or_else(|| {
            // All were asked: begin again.
            ordered.asked = ReplicaSet::EMPTY;
            candidates().next()
        });
        self.timers.set(Timer::BodyMissing(id), now + self.options.body_timeout);
        if let Some(replica) = next {
            ordered.asked.insert(replica);
            self.send_request(replica, id);
        }
    }

    fn complete_ordered(&mut self, now: Instant, id: CallId, by: Statement, body: &[u8]) {
        let Some(Call { stage: Stage::Ordered(ordered), purpose, operation, wanted, .. }) =
            self.calls.get(&id)
        else {
            return;
        };
        let (purpose, wanted, number) = (*purpose, *wanted, ordered.number);
        let left = match operation {
            Operation::Subscribe(topic) if !wanted => Some(topic.clone()),
            _ => None,
        };
        let evidence = ordered.poll.evidence(self.group.quorums.quorum(), self.group.view);
        self.min_cid = self.min_cid.max(by.cid);
        self.session.in_flight.remove(&number);
        let result = decode::<ExecutionResult>(body);
        self.finish(now, id, Name::Ordered(self.session.id, number), by);
        match (purpose, result) {
            (Purpose::Invoke | Purpose::Query, Ok(ExecutionResult::Value(result))) if wanted => {
                self.events.push_back(ClientEvent::Completed { call: id, result, evidence });
            }
            (Purpose::Subscribe, Ok(ExecutionResult::Subscribed { next })) if wanted => {
                let subscription = id;
                self.events.push_back(ClientEvent::Subscribed { subscription, next, evidence });
                self.activate(now, id, Some(next));
            }
            (Purpose::Resubscribe { subscription }, Ok(ExecutionResult::Subscribed { .. })) => {
                self.activate(now, subscription, None);
            }
            (Purpose::Resubscribe { subscription }, result) => {
                self.subscription_lost(subscription, call_error(result.ok()), evidence);
            }
            (Purpose::Unsubscribe { subscription }, Ok(ExecutionResult::Unsubscribed)) => {
                self.end_subscription(subscription);
                if wanted {
                    let result = Bytes::new();
                    self.events.push_back(ClientEvent::Completed { call: id, result, evidence });
                }
            }
            (Purpose::Subscribe, Ok(ExecutionResult::Subscribed { .. })) => {
                // Nobody waits for it any more, and nobody has asked for the topic since.
                if let Some(topic) = left.filter(|topic| !self.subscribed(topic)) {
                    let operation = Operation::Unsubscribe(topic);
                    let end = self.add_call(now, Purpose::Filler, operation, None);
                    self.queue.push_back(end);
                }
            }
            (_, result) if wanted => {
                let (error, outcome) = (call_error(result.ok()), Outcome::Executed);
                if purpose == Purpose::Subscribe {
                    self.end_subscription(id);
                }
                self.events.push_back(ClientEvent::Failed { call: id, error, outcome, evidence });
            }
            _ => {}
        }
        self.pump(now);
    }

    /// A refusal of an ordered request.
    pub(super) fn handle_refused(
        &mut self,
        now: Instant,
        replica: usize,
        (session, number, request): (SessionId, u64, Digest),
        refusal: Refusal,
    ) {
        if session != self.session.id {
            return;
        }
        self.answered(replica);
        let expired = refusal == Refusal::SessionExpired;
        let one_correct = self.group.quorums.one_correct();
        let call = self.session.in_flight.get(&number).copied();
        if let Some(id) = call
            && let Some(Call { stage: Stage::Ordered(ordered), .. }) = self.calls.get_mut(&id)
            && ordered.digest == request
            && ordered.poll.decided().is_none()
        {
            ordered.poll.refuse(replica, refusal);
            match ordered.poll.refused(one_correct) {
                Some(refusal @ Refusal::Service(_)) => {
                    return self.refused_for_good(now, id, number, refusal);
                }
                Some(refusal @ Refusal::Equivocation) => {
                    // Somebody else numbers requests in this session. Leave it.
                    self.fail(id, CallError::Refused(refusal), Outcome::Unknown);
                    return self.renew_session(now, &CallError::SessionExpired);
                }
                Some(refusal @ (Refusal::Sessions | Refusal::Queries)) => {
                    self.fail(id, CallError::Refused(refusal), Outcome::Unknown);
                }
                // "Not now": it is sent again until the caller's time is up.
                Some(Refusal::Window | Refusal::BornInFuture | Refusal::NotBegun) => {}
                Some(Refusal::SessionExpired) | None => {}
            }
        }
        if expired {
            self.hear_expired(now, replica);
        }
    }

    /// The service refuses an operation, which all correct replicas judge alike: it will never be
    /// ordered, and its number is free for another.
    fn refused_for_good(&mut self, now: Instant, id: CallId, number: u64, refusal: Refusal) {
        self.fail(id, CallError::Refused(refusal), Outcome::NotExecuted);
        self.drop_call(id);
        self.session.in_flight.remove(&number);
        if number + 1 == self.session.next {
            self.session.next = number;
            self.pump(now);
        } else if let Some(filler) = self.filler(now) {
            // Later numbers wait for this one.
            self.send_numbered(now, filler, number);
        }
    }

    /// A call without an effect: ends a subscription that never was.
    pub(super) fn filler(&mut self, now: Instant) -> Option<CallId> {
        let operation = Operation::Unsubscribe(Topic::new("webbft/none").ok()?);
        Some(self.add_call(now, Purpose::Filler, operation, None))
    }

    /// Tells the application, once, that a call failed. The call itself stays until ordered.
    pub(super) fn fail(&mut self, id: CallId, error: CallError, outcome: Outcome) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if !call.wanted {
            return;
        }
        call.wanted = false;
        self.pending -= 1;
        self.timers.cancel(Timer::CallExpires(id));
        let decided = call.poll().and_then(Poll::decided).is_some();
        let outcome = if decided { Outcome::Executed } else { outcome };
        let evidence = self.evidence(id);
        if self.calls.get(&id).is_some_and(|call| call.purpose == Purpose::Subscribe) {
            self.end_subscription(id);
        }
        self.events.push_back(ClientEvent::Failed { call: id, error, outcome, evidence });
    }

    fn evidence(&self, id: CallId) -> Evidence {
        let (needed, view) = (self.group.quorums.quorum(), self.group.view);
        match self.calls.get(&id).and_then(Call::poll) {
            Some(poll) => poll.evidence(needed, view),
            None => Poll::new(self.group.n()).evidence(needed, view),
        }
    }

    /// The application waits no longer: because time is up, or because it says so.
    pub(super) fn give_up(&mut self, id: CallId, error: CallError) {
        let Some(call) = self.calls.get(&id) else { return };
        let outcome = if call.sent { Outcome::Unknown } else { Outcome::NotSent };
        let numbered = matches!(call.stage, Stage::Ordered(_));
        self.fail(id, error, outcome);
        if !numbered {
            self.drop_call(id);
        }
    }

    /// The error that fits a call whose time is up.
    pub(super) fn expiry_error(&self, id: CallId) -> CallError {
        let refused = self
            .calls
            .get(&id)
            .and_then(Call::poll)
            .and_then(|poll| poll.refused(self.group.quorums.one_correct()));
        match refused {
            Some(refusal) => CallError::Refused(refusal),
            None if self.open().len() < self.group.quorums.quorum() => CallError::NoQuorum,
            None => CallError::Timeout,
        }
    }

    /// Forgets a call.
    pub(super) fn drop_call(&mut self, id: CallId) {
        self.timers.cancel_call(id);
        let Some(call) = self.calls.remove(&id) else { return };
        match call.stage {
            Stage::Queued => self.queue.retain(|queued| *queued != id),
            Stage::Reading(read) => {
                self.nonces.remove(&read.nonce);
            }
            Stage::Ordered(_) => {}
        }
        if call.wanted {
            self.pending -= 1;
        }
    }

    /// Moves a decided call to the recent ones, where late votes find it.
    pub(super) fn finish(&mut self, now: Instant, id: CallId, name: Name, by: Statement) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let poll = match &mut call.stage {
            Stage::Queued => return,
            Stage::Reading(read) => &mut read.poll,
            Stage::Ordered(ordered) => &mut ordered.poll,
        };
        let mut poll = std::mem::replace(poll, Poll::new(0));
        let shown = call.wanted;
        poll.drop_bodies();
        self.drop_call(id);
        self.completed_by(now, poll.voters(), id);
        for replica in 0..self.group.n() {
            if contradicts(poll.vote(replica), by, name) && poll.accuse(replica) {
                self.accuse(now, replica, SuspectReason::Divergent, Some(id));
            }
        }
        if self.recent.len() >= self.options.late_calls.max(1) {
            self.recent.pop_front();
        }
        let until = now + self.options.late_votes;
        self.recent.push_back(Finished { call: id, name, poll, until, shown });
    }

    /// A statement about a call that is finished.
    pub(super) fn handle_late(
        &mut self,
        now: Instant,
        replica: usize,
        name: Name,
        statement: Statement,
    ) {
        let (needed, view) = (self.group.quorums.quorum(), self.group.view);
        while self.recent.front().is_some_and(|finished| finished.until <= now) {
            self.recent.pop_front();
        }
        let Some(finished) = self.recent.iter_mut().find(|finished| finished.name == name) else {
            return;
        };
        let Some(by) = finished.poll.decided() else { return };
        let (call, first) = (finished.call, !finished.poll.has_stated(replica));
        if first {
            finished.poll.hear(replica, statement, None);
        }
        let contradicts = contradicts(Some(&Vote::Says(statement)), by, name);
        let accuse = contradicts && finished.poll.accuse(replica);
        let evidence = finished.poll.evidence(needed, view);
        let shown = finished.shown;
        self.answered(replica);
        if first && shown {
            self.events.push_back(ClientEvent::Votes { call, number: None, evidence });
        }
        if accuse {
            self.accuse(now, replica, SuspectReason::Divergent, Some(call));
        }
    }
}

/// Does the vote prove its replica wrong, given what a quorum says? A read as of another instance
/// does not: the replica may be behind or ahead.
fn contradicts(vote: Option<&Vote>, by: Statement, name: Name) -> bool {
    match (vote, name) {
        (Some(Vote::Says(statement)), Name::Ordered(..)) => {
            *statement != by && !statement.is_forgotten() && !by.is_forgotten()
        }
        (Some(Vote::Says(statement)), Name::Read(_)) => {
            statement.digest != by.digest && (statement.view, statement.cid) == (by.view, by.cid)
        }
        _ => false,
    }
}

/// The error for a result that is not the one that was asked for.
fn call_error(result: Option<ExecutionResult>) -> CallError {
    match result {
        Some(ExecutionResult::Faulted) => CallError::Faulted,
        Some(ExecutionResult::TooLarge) => CallError::TooLarge,
        Some(ExecutionResult::Forgotten) => CallError::Forgotten,
        Some(ExecutionResult::TooManySubscriptions) => CallError::TooManySubscriptions,
        _ => CallError::Incompatible,
    }
}
