//! Subscriptions: events delivered by number, each on the word of f + 1 replicas (DESIGN 6).

use std::collections::VecDeque;

use super::calls::Purpose;
use super::event::{CallError, CallId, ClientEvent, Evidence, Outcome, SuspectReason};
use super::proxy::{GivenBody, ServiceProxy};
use super::table::Table;
use super::timers::Timer;
use super::votes::{Poll, Statement, Vote};
use crate::membership::ReplicaSet;
use crate::time::Instant;
use crate::wire::limits::MAX_RESULT;
use crate::wire::{ClientHeader, Frame, Operation, Topic, WITHHELD};

/// Bytes of payloads that one replica may send ahead of the next event; more are fetched later.
const BYTES_AHEAD: usize = 2 * MAX_RESULT;
/// Delivered events for which late votes are still compared.
const DELIVERED: usize = 32;

/// One topic of this client.
#[derive(Debug)]
pub(super) struct Subscription {
    topic: Topic,
    /// The next event to deliver; `None` until the replicas have agreed on the first one.
    next: Option<u64>,
    /// Is it in force in the current session? If not, a request to subscribe is under way.
    active: bool,
    /// Votes on events from `next` on.
    polls: Table<u64, Poll>,
    /// The highest event each replica claims to exist.
    heads: Vec<u64>,
    /// The oldest event each replica still has, where it refused older ones.
    gaps: Vec<u64>,
    /// Replicas asked for the next event's payload.
    fetched: ReplicaSet,
    /// Attempts to get the next event.
    attempts: u32,
    delivered: VecDeque<Delivered>,
}

/// A delivered event.
#[derive(Debug)]
struct Delivered {
    number: u64,
    statement: Statement,
    accused: ReplicaSet,
    evidence: Evidence,
}

impl Delivered {
    /// Takes a statement that came later; the evidence, where it is new, and whether it is the
    /// first one that proves its replica wrong.
    fn hear(&mut self, replica: usize, statement: Statement) -> (Option<Evidence>, bool) {
        let differs = self.statement != statement;
        let accuse = differs && self.accused.insert(replica);
        if !self.evidence.silent.remove(replica) {
            return (None, accuse);
        }
        let Evidence { matching, differing, .. } = &mut self.evidence;
        if differs { differing } else { matching }.insert(replica);
        (Some(self.evidence), accuse)
    }
}

impl Subscription {
    pub(super) fn new(topic: Topic, n: usize) -> Self {
        Self {
            topic,
            next: None,
            active: false,
            polls: Table::default(),
            heads: vec![0; n],
            gaps: vec![0; n],
            fetched: ReplicaSet::EMPTY,
            attempts: 0,
            delivered: VecDeque::new(),
        }
    }

    /// Goes on to event `next`.
    fn advance(&mut self, next: u64) {
        self.next = Some(next);
        self.polls.remove_below(&next);
        self.fetched = ReplicaSet::EMPTY;
        self.attempts = 0;
    }

    /// Does `count` or more of the replicas claim that event `number` exists or existed?
    fn exists(&self, number: u64, count: usize) -> bool {
        self.heads.iter().filter(|&&head| head >= number).count() >= count
    }

    /// Where to go on if `count` replicas no longer have event `next`: the highest number below
    /// which `count` of them have nothing, so that at least one correct replica says so.
    fn gap(&self, next: u64, count: usize) -> Option<u64> {
        let without = |number: u64| self.gaps.iter().filter(|&&first| first >= number).count();
        self.gaps.iter().copied().filter(|&first| first > next && without(first) >= count).max()
    }

    /// Makes room for a vote of `replica` on event `number`, far ones giving way to near ones.
    fn has_room(&mut self, replica: usize, number: u64, limit: usize) -> bool {
        let voted = |poll: &Poll| poll.vote(replica).is_some();
        if self.polls.get(&number).is_some_and(voted)
            || self.polls.values().filter(|poll| voted(poll)).count() < limit
        {
            return true;
        }
        let Some((last, poll)) = self.polls.iter_mut().rfind(|(_, poll)| voted(poll)) else {
            return false;
        };
        if last <= number {
            return false;
        }
        poll.retract(replica);
        if poll.voters().is_empty() {
            self.polls.remove(&last);
        }
        true
    }
}

impl ServiceProxy {
    fn subscription_to(&mut self, topic: &Topic) -> Option<(CallId, &mut Subscription)> {
        self.subscriptions.iter_mut().find(|(_, subscription)| subscription.topic == *topic)
    }

    /// The subscription to a topic.
    pub(super) fn subscription_named(&self, topic: &Topic) -> Option<CallId> {
        let mut all = self.subscriptions.keys().zip(self.subscriptions.values());
        all.find(|(_, subscription)| subscription.topic == *topic).map(|(id, _)| id)
    }

    /// The topic of a subscription that is in force and not about to end.
    pub(super) fn active_topic(&self, id: CallId) -> Option<Topic> {
        let subscription = self.subscriptions.get(&id)?;
        let ends = self
            .calls
            .values()
            .any(|call| call.wanted && call.purpose == Purpose::Unsubscribe { subscription: id });
        (subscription.next.is_some() && !ends).then(|| subscription.topic.clone())
    }

    /// The replicas have agreed to send the events of a subscription: from `first` on if it is
    /// new, from where it stood if it was taken along into a new session.
    pub(super) fn activate(&mut self, now: Instant, id: CallId, first: Option<u64>) {
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return };
        subscription.active = true;
        if let Some(first) = first {
            subscription.advance(first);
        }
        // What was sent before the replicas agreed may have been lost.
        for replica in 0..self.group.n() {
            self.resume(replica, id);
        }
        self.deliver(now, id);
    }

    pub(super) fn end_subscription(&mut self, id: CallId) {
        self.subscriptions.remove(&id);
        self.timers.cancel(Timer::EventMissing(id));
    }

    /// A subscription could not be taken along into a new session.
    pub(super) fn subscription_lost(&mut self, id: CallId, error: CallError, evidence: Evidence) {
        if self.subscriptions.get(&id).is_some() {
            self.end_subscription(id);
            let outcome = Outcome::Executed;
            self.events.push_back(ClientEvent::Failed { call: id, error, outcome, evidence });
        }
    }

    /// Asks for all subscriptions again, in a new session.
    pub(super) fn resubscribe(&mut self) {
        let mut again = Vec::new();
        for (id, subscription) in self.subscriptions.iter_mut() {
            subscription.active = false;
            self.timers.cancel(Timer::EventMissing(id));
            if subscription.next.is_some() {
                again.push((id, subscription.topic.clone()));
            }
        }
        for (id, topic) in again.into_iter().rev() {
            let purpose = Purpose::Resubscribe { subscription: id };
            let operation = Operation::Subscribe(topic);
            let call = self.add_call(Instant::ZERO, purpose, operation, None);
            self.queue.push_front(call);
        }
    }

    /// On a new link: all subscriptions.
    pub(super) fn resume_all(&mut self, replica: usize) {
        let all: Vec<CallId> = self.subscriptions.keys().collect();
        for id in all {
            self.resume(replica, id);
        }
    }

    /// Asks a replica for a subscription's events from the next one on.
    fn resume(&mut self, replica: usize, id: CallId) {
        let Some(subscription) = self.subscriptions.get(&id) else { return };
        if let (true, Some(next)) = (subscription.active, subscription.next) {
            let (session, topic) = (self.session.id, subscription.topic.clone());
            self.send(replica, Frame::bare(ClientHeader::Resume { session, topic, next }));
        }
    }

    /// An event of the current session.
    pub(super) fn handle_event(
        &mut self,
        now: Instant,
        replica: usize,
        topic: &Topic,
        (number, statement): (u64, Statement),
        body: GivenBody,
    ) {
        let (n, limit) = (self.group.n(), self.options.events_ahead);
        let Some((id, subscription)) = self.subscription_to(topic) else { return };
        let next = subscription.next.unwrap_or(0);
        if number < next {
            let late = subscription.delivered.iter_mut().find(|event| event.number == number);
            let (votes, accuse) =
                late.map_or((None, false), |event| event.hear(replica, statement));
            if let Some(evidence) = votes {
                let number = Some(number);
                self.events.push_back(ClientEvent::Votes { call: id, number, evidence });
            }
            if accuse {
                self.accuse(now, replica, SuspectReason::Divergent, Some(id));
            }
            return self.answered(replica);
        }
        let head = &mut subscription.heads[replica];
        *head = (*head).max(number);
        let mut accuse = false;
        if subscription.has_room(replica, number, limit) {
            let held: usize = subscription.polls.values().map(|poll| poll.body_len(replica)).sum();
            let len = body.as_ref().map_or(0, |(bytes, _)| bytes.len());
            let sound = body.as_ref().is_none_or(|(_, digest)| *digest == statement.digest);
            // A wrong body is never held, and must be seen to be wrong.
            let keep = !sound || number == next || held + len <= BYTES_AHEAD;
            let poll = subscription.polls.get_or_insert_with(number, || Poll::new(n));
            accuse = !poll.hear(replica, statement, body.filter(|_| keep)) && poll.accuse(replica);
        }
        self.answered(replica);
        if accuse {
            self.accuse(now, replica, SuspectReason::Protocol, Some(id));
        }
        self.deliver(now, id);
    }

    /// A replica no longer has the events before `first`.
    pub(super) fn handle_gap(&mut self, now: Instant, replica: usize, topic: &Topic, first: u64) {
        self.answered(replica);
        let Some((id, subscription)) = self.subscription_to(topic) else { return };
        subscription.gaps[replica] = first;
        let head = &mut subscription.heads[replica];
        *head = (*head).max(first.saturating_sub(1));
        self.deliver(now, id);
    }

    /// A replica answered a ping. The heads of the session's topics follow, unless it knows none:
    /// when f + 1 replicas leave them out, the session may have been evicted, and an ordered
    /// request will show whether it was.
    pub(super) fn expect_heads(&mut self, now: Instant, replica: usize) {
        if !self.subscriptions.values().any(|subscription| subscription.active) {
            return;
        }
        let missing = &mut self.replicas[replica].heads_missing;
        *missing = missing.saturating_add(1);
        let quiet = self.replicas.iter().filter(|replica| replica.heads_missing > 3).count();
        if quiet >= self.group.quorums.one_correct() {
            for replica in &mut self.replicas {
                replica.heads_missing = 0;
            }
            if self.session.in_flight.is_empty()
                && self.queue.is_empty()
                && let Some(filler) = self.filler(now)
            {
                self.queue.push_back(filler);
                self.pump(now);
            }
        }
    }

    /// A replica names the last events of its topics.
    pub(super) fn handle_heads(&mut self, now: Instant, replica: usize, heads: &[(Topic, u64)]) {
        self.replicas[replica].heads_missing = 0;
        for (topic, number) in heads {
            if let Some((id, subscription)) = self.subscription_to(topic) {
                let head = &mut subscription.heads[replica];
                *head = (*head).max(*number);
                self.deliver(now, id);
            }
        }
    }

    /// Delivers what can be, and sees to it that what is missing is asked for.
    fn deliver(&mut self, now: Instant, id: CallId) {
        let one_correct = self.group.quorums.one_correct();
        let view = self.group.view;
        let mut progress = false;
        let mut divergent = Vec::new();
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return };
        let Some(mut next) = subscription.next else { return };
        while let Some(poll) = subscription.polls.get_mut(&next) {
            let Some(statement) = poll.decide(one_correct) else { break };
            let withheld = statement.digest == WITHHELD;
            let payload = poll.body(statement.digest).cloned();
            if payload.is_none() && !withheld {
                break;
            }
            let mut accused = ReplicaSet::EMPTY;
            for replica in 0..self.group.n() {
                if matches!(poll.vote(replica), Some(Vote::Says(said)) if *said != statement) {
                    accused.insert(replica);
                    divergent.push(replica);
                }
            }
            let evidence = poll.evidence(one_correct, view);
            if let Some(payload) = payload.filter(|_| !withheld) {
                let topic = subscription.topic.clone();
                let event =
                    ClientEvent::Event { subscription: id, topic, number: next, payload, evidence };
                self.events.push_back(event);
                if subscription.delivered.len() >= DELIVERED {
                    subscription.delivered.pop_front();
                }
                let delivered = Delivered { number: next, statement, accused, evidence };
                subscription.delivered.push_back(delivered);
            }
            next = next.saturating_add(1);
            subscription.advance(next);
            progress = true;
        }
        if progress {
            self.timers.cancel(Timer::EventMissing(id));
        }
        if subscription.active && subscription.exists(next, one_correct) {
            let timer = Timer::EventMissing(id);
            self.timers.set_once(timer, now + self.options.body_timeout);
        }
        for replica in divergent {
            self.accuse(now, replica, SuspectReason::Divergent, Some(id));
        }
    }

    /// The next event exists by the word of f + 1 replicas, and has not become deliverable.
    pub(super) fn event_missing(&mut self, now: Instant, id: CallId) {
        let one_correct = self.group.quorums.one_correct();
        let open = self.open();
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return };
        let Some(next) = subscription.next else { return };
        let decided = subscription.polls.get(&next).and_then(Poll::decided);
        let supporters = decided
            .and_then(|statement| Some(subscription.polls.get(&next)?.supporters(statement)))
            .unwrap_or(ReplicaSet::EMPTY);
        let untried = supporters
            .iter()
            .find(|&replica| open.contains(replica) && !subscription.fetched.contains(replica));
        // Events on their way have had their time, and whoever claims to have the payload has
        // been asked for it: a gap that f + 1 replicas name is one.
        if let (None, Some(first)) = (untried, subscription.gap(next, one_correct)) {
            subscription.advance(first);
            let topic = subscription.topic.clone();
            let gap = ClientEvent::Gap { subscription: id, topic, missed_from: next, next: first };
            self.events.push_back(gap);
            for replica in open.iter() {
                self.resume(replica, id);
            }
            return self.deliver(now, id);
        }
        subscription.attempts = (subscription.attempts + 1).min(6);
        let pause = self.options.body_timeout * (1 << subscription.attempts);
        self.timers.set(Timer::EventMissing(id), now + pause);
        if let Some(replica) = untried {
            subscription.fetched.insert(replica);
            let (session, topic) = (self.session.id, subscription.topic.clone());
            let header = ClientHeader::FetchEvent { session, topic, number: next };
            return self.send(replica, Frame::bare(header));
        }
        // Those who no longer have it say so in answer to this, the others send it.
        subscription.fetched = ReplicaSet::EMPTY;
        for replica in open.iter() {
            self.resume(replica, id);
        }
    }
}
