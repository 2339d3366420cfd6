//! Runs decided batches through the service.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::service::{Answer, Context, Publication, Service};
use super::sessions::{CachedReply, Sessions};
use super::topics::{Event, Topics};
use crate::membership::{Cid, ClientId, Digest, ViewNumber};
use crate::time::UnixMicros;
use crate::wire::limits::MAX_RESULT;
use crate::wire::{ExecutionResult, Operation, Request, RequestId, SessionKey, Topic, encode};

/// Bounds on replicated state. Part of what the replicas must agree on: change them only with a
/// new view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutionLimits {
    /// Live sessions.
    pub sessions: usize,
    /// Agreed time after which a session that ordered nothing is evicted.
    pub session_idle: Duration,
    /// Subscriptions of one session.
    pub subscriptions: usize,
    /// Events kept per topic.
    pub ring: usize,
    /// Instances after which a checkpoint becomes due (rule C1), at least 1.
    pub checkpoint_every: u64,
    /// Bytes of ordered operations after which a checkpoint becomes due, however few instances.
    pub checkpoint_bytes: u64,
    /// Agreed time that must lie between two checkpoints. Make it longer than taking a snapshot
    /// of the service takes: a replica that is still busy with one leaves the next out.
    pub checkpoint_pause: Duration,
}

impl Default for ExecutionLimits {
    fn default() -> Self {
        Self {
            sessions: 16_384,
            session_idle: Duration::from_secs(3600),
            subscriptions: 64,
            ring: 1024,
            checkpoint_every: 1024,
            checkpoint_bytes: 64 << 20,
            checkpoint_pause: Duration::from_secs(10),
        }
    }
}

/// A request whose place in the total order is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderedRequest {
    /// The request.
    pub request: Request,
    /// Digest of its bytes.
    pub digest: Digest,
}

/// The reply to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The request.
    pub id: RequestId,
    /// View, instance and result.
    pub reply: CachedReply,
}

/// What executing a batch gave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Executed {
    /// A reply per request, in order.
    pub replies: Vec<Reply>,
    /// Published events, in order.
    pub events: Vec<Event>,
    /// Sessions that were evicted at the end of the batch.
    pub evicted: Vec<SessionKey>,
    /// Operations in which the service panicked.
    pub faults: Vec<RequestId>,
    /// Is a checkpoint of the state after this batch due (rule C1)?
    pub checkpoint_due: bool,
}

/// The service panicked while answering a query: its author is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the service panicked while answering the query")]
pub struct QueryFault;

/// The service and all other replicated state.
#[derive(Debug, Clone)]
pub struct Executor<S> {
    service: S,
    sessions: Sessions,
    topics: Topics,
    last_cid: Cid,
    last_hash: Digest,
    time: UnixMicros,
    schedule: CheckpointSchedule,
    limits: ExecutionLimits,
}

/// When the last checkpoint was due, and what was ordered since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct CheckpointSchedule {
    pub(super) cid: Cid,
    pub(super) time: UnixMicros,
    pub(super) bytes: u64,
}

/// What a snapshot holds besides service, sessions and topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) last_cid: Cid,
    pub(super) last_hash: Digest,
    pub(super) time: UnixMicros,
    pub(super) schedule: CheckpointSchedule,
}

impl<S: Service> Executor<S> {
    /// Before the first instance.
    #[must_use]
    pub const fn new(service: S, limits: ExecutionLimits) -> Self {
        Self {
            service,
            sessions: Sessions::new(limits.sessions, limits.session_idle),
            topics: Topics::new(limits.ring),
            last_cid: Cid::ZERO,
            last_hash: Digest([0; 32]),
            time: UnixMicros::ZERO,
            schedule: CheckpointSchedule { cid: Cid::ZERO, time: UnixMicros::ZERO, bytes: 0 },
            limits,
        }
    }

    /// From the parts of a snapshot, which the caller has checked.
    pub(super) const fn from_parts(
        service: S,
        sessions: Sessions,
        topics: Topics,
        position: Position,
        limits: ExecutionLimits,
    ) -> Self {
        let Position { last_cid, last_hash, time, schedule } = position;
        Self { service, sessions, topics, last_cid, last_hash, time, schedule, limits }
    }

    pub(super) const fn position(&self) -> Position {
        Position {
            last_cid: self.last_cid,
            last_hash: self.last_hash,
            time: self.time,
            schedule: self.schedule,
        }
    }

    /// The service.
    #[must_use]
    pub const fn service(&self) -> &S {
        &self.service
    }

    /// The session table.
    #[must_use]
    pub const fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// The topics.
    #[must_use]
    pub const fn topics(&self) -> &Topics {
        &self.topics
    }

    /// The last instance executed.
    #[must_use]
    pub const fn last_cid(&self) -> Cid {
        self.last_cid
    }

    /// Hash of that instance's batch; all zero before the first.
    #[must_use]
    pub const fn last_hash(&self) -> Digest {
        self.last_hash
    }

    /// The agreed time as of that instance.
    #[must_use]
    pub const fn time(&self) -> UnixMicros {
        self.time
    }

    /// Executes the batch decided by instance `cid`.
    ///
    /// # Panics
    /// Where `cid` is not the next instance: the caller is to blame.
    pub fn execute(
        &mut self,
        view: ViewNumber,
        cid: Cid,
        hash: Digest,
        time: UnixMicros,
        requests: &[OrderedRequest],
    ) -> Executed {
        assert_eq!(cid, self.last_cid.next(), "instances are executed in order");
        assert!(time > self.time, "agreed time moves forward (rule N6)");
        self.last_cid = cid;
        self.last_hash = hash;
        self.time = time;
        let mut executed = Executed::default();
        for ordered in requests {
            let id = ordered.request.id;
            let key = id.session_key();
            self.sessions.begin(key, id.number, time, ordered.request.born);
            self.schedule.bytes += payload_bytes(&ordered.request.operation);
            let result = self.execute_one(view, cid, hash, ordered, &mut executed);
            let result: Bytes = encode(&result).into();
            let digest = Digest::of(&result);
            let reply = CachedReply { number: id.number, view, cid, result, digest };
            self.sessions.cache(&key, reply.clone());
            executed.replies.push(Reply { id, reply });
        }
        for (key, subscriptions) in self.sessions.evict(time) {
            for topic in subscriptions {
                self.topics.unsubscribe(&topic, &key);
            }
            executed.evicted.push(key);
        }
        executed.checkpoint_due = self.checkpoint_due();
        executed
    }

    /// Is a checkpoint due after the instance just executed? A function of the decided prefix
    /// (rule C1); the next one is counted from here.
    fn checkpoint_due(&mut self) -> bool {
        let CheckpointSchedule { cid, time, bytes } = self.schedule;
        let much = self.last_cid.0 - cid.0 >= self.limits.checkpoint_every
            || bytes >= self.limits.checkpoint_bytes;
        let due = much && self.time >= time + self.limits.checkpoint_pause;
        if due {
            self.schedule = CheckpointSchedule { cid: self.last_cid, time: self.time, bytes: 0 };
        }
        due
    }

    fn execute_one(
        &mut self,
        view: ViewNumber,
        cid: Cid,
        hash: Digest,
        ordered: &OrderedRequest,
        executed: &mut Executed,
    ) -> ExecutionResult {
        let id = ordered.request.id;
        let key = id.session_key();
        match &ordered.request.operation {
            Operation::Execute(payload) => {
                match self.run(payload, id, cid, (hash, ordered.digest)) {
                    Some((result, publications)) => {
                        for (topic, payload) in publications {
                            executed.events.push(self.topics.publish(topic, payload, view, cid));
                        }
                        value(result)
                    }
                    None => {
                        executed.faults.push(id);
                        ExecutionResult::Faulted
                    }
                }
            }
            Operation::Query(payload) => match self.query(payload) {
                Ok(answer) => value(answer.result),
                Err(QueryFault) => {
                    executed.faults.push(id);
                    ExecutionResult::Faulted
                }
            },
            Operation::Subscribe(topic) => {
                if self.sessions.subscribe(&key, topic.clone(), self.limits.subscriptions) {
                    let next = self.topics.subscribe(topic.clone(), key);
                    ExecutionResult::Subscribed { next }
                } else {
                    ExecutionResult::TooManySubscriptions
                }
            }
            Operation::Unsubscribe(topic) => {
                self.sessions.unsubscribe(&key, topic);
                self.topics.unsubscribe(topic, &key);
                ExecutionResult::Unsubscribed
            }
        }
    }

    /// Runs one operation. On a panic, or a publication that no client could receive, the
    /// service is as it was before and `None` comes back.
    fn run(
        &mut self,
        payload: &[u8],
        id: RequestId,
        cid: Cid,
        seed: (Digest, Digest),
    ) -> Option<(Vec<u8>, Publications)> {
        let before = self.service.clone();
        let mut published = Vec::new();
        let mut context = Context::of_request(id.client, cid, self.time, seed, &mut published);
        let service = &mut self.service;
        // Unwind safety: whatever state the panic leaves behind is thrown away.
        let outcome = catch_unwind(AssertUnwindSafe(|| service.execute(payload, &mut context)));
        match outcome.ok().zip(publishable(published)) {
            Some(done) => Some(done),
            None => {
                self.service = before;
                None
            }
        }
    }

    /// May this subscriber see this event? A service that panics over it says no.
    #[must_use]
    pub fn may_see(subscriber: ClientId, event: &Event) -> bool {
        let topic = event.topic.as_str();
        catch_unwind(|| S::may_see(subscriber, topic, &event.payload)).unwrap_or(false)
    }

    /// Answers a query from the current state.
    ///
    /// # Errors
    /// Where the service panics.
    pub fn query(&self, query: &[u8]) -> Result<Answer, QueryFault> {
        catch_unwind(AssertUnwindSafe(|| self.service.query(query))).map_err(|_| QueryFault)
    }
}

/// Checked topics and payloads.
type Publications = Vec<(Topic, Bytes)>;

/// What an operation adds to the log, roughly.
fn payload_bytes(operation: &Operation) -> u64 {
    match operation {
        Operation::Execute(payload) | Operation::Query(payload) => payload.len() as u64,
        Operation::Subscribe(_) | Operation::Unsubscribe(_) => 0,
    }
}

fn value(result: Vec<u8>) -> ExecutionResult {
    if result.len() > MAX_RESULT {
        ExecutionResult::TooLarge
    } else {
        ExecutionResult::Value(result.into())
    }
}

fn publishable(published: Vec<Publication>) -> Option<Publications> {
    published
        .into_iter()
        .map(|Publication { topic, payload }| {
            (payload.len() <= MAX_RESULT).then_some((Topic::new(topic).ok()?, payload))
        })
        .collect()
}
