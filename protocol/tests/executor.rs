//! The executor on its own (rules E1 to E4).
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use webbft_protocol::execution::{
    Answer, Context, Executed, ExecutionLimits, Executor, OrderedRequest, RestoreError, Service,
};
use webbft_protocol::membership::{ClientId, Digest, ServiceId, SessionId, ViewNumber};
use webbft_protocol::time::UnixMicros;
use webbft_protocol::wire::{ExecutionResult, Operation, Request, RequestId, Topic, decode};

/// Gives each operation's seed as its result. `panic` publishes, and then panics.
#[derive(Debug, Clone, Default)]
struct Seeds;

impl Service for Seeds {
    fn execute(&mut self, operation: &[u8], context: &mut Context<'_>) -> Vec<u8> {
        context.publish("t", operation.to_vec());
        assert_ne!(operation, b"panic", "asked to");
        context.seed().to_vec()
    }

    fn query(&self, _: &[u8]) -> Answer {
        Answer { result: Vec::new(), as_of: None }
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(_: &[u8]) -> Result<Self, RestoreError> {
        Ok(Self)
    }
}

fn request(session: u8, number: u64, operation: Operation) -> OrderedRequest {
    let id = RequestId { client: ClientId([1; 16]), session: SessionId([session; 16]), number };
    let request = Request { service: ServiceId([1; 16]), id, born: UnixMicros(1), operation };
    ordered(request)
}

fn ordered(request: Request) -> OrderedRequest {
    let digest = Request::digest(&request.encode());
    OrderedRequest { request, digest }
}

fn execute(payload: &'static [u8]) -> Operation {
    Operation::Execute(Bytes::from_static(payload))
}

fn results(executed: &Executed) -> Vec<ExecutionResult> {
    executed.replies.iter().map(|reply| decode(&reply.reply.result).unwrap()).collect()
}

fn run(executor: &mut Executor<Seeds>, micros: u64, requests: &[OrderedRequest]) -> Executed {
    let cid = executor.last_cid().next();
    let hash = Digest::of(&cid.0.to_le_bytes());
    executor.execute(ViewNumber(0), cid, hash, UnixMicros(micros), requests)
}

/// E1: the seed is another for each operation of a batch, and for each batch.
#[test]
fn every_operation_has_a_seed_of_its_own() {
    let mut executor = Executor::new(Seeds, ExecutionLimits::default());
    let first =
        run(&mut executor, 1, &[request(1, 1, execute(b"a")), request(1, 2, execute(b"a"))]);
    let second = run(&mut executor, 2, &[request(1, 3, execute(b"a"))]);
    let mut seeds = results(&first);
    seeds.extend(results(&second));
    let [ExecutionResult::Value(a), ExecutionResult::Value(b), ExecutionResult::Value(c)] =
        &seeds[..]
    else {
        panic!("{seeds:?}");
    };
    assert!(a.len() == 32 && a != b && a != c && b != c);
    // The same at every replica.
    let mut other = Executor::new(Seeds, ExecutionLimits::default());
    assert_eq!(
        run(&mut other, 1, &[request(1, 1, execute(b"a")), request(1, 2, execute(b"a"))]),
        first
    );
}

/// E2: what was published before a panic is not sent, and takes no number.
#[test]
#[cfg_attr(target_family = "wasm", ignore = "a panic ends a Wasm program")]
fn a_panic_publishes_nothing() {
    let mut executor = Executor::new(Seeds, ExecutionLimits::default());
    let requests = [request(1, 1, execute(b"panic")), request(1, 2, execute(b"fine"))];
    let executed = run(&mut executor, 1, &requests);
    assert_eq!(results(&executed)[0], ExecutionResult::Faulted);
    assert_eq!(executed.faults, [requests[0].request.id]);
    let events: Vec<(u64, &[u8])> =
        executed.events.iter().map(|event| (event.number, &event.payload[..])).collect();
    assert_eq!(events, [(1, &b"fine"[..])]);
}

/// E4, A9: an evicted session is subscribed to nothing.
#[test]
fn an_evicted_session_is_subscribed_to_nothing() {
    let limits =
        ExecutionLimits { session_idle: Duration::from_secs(1), ..ExecutionLimits::default() };
    let mut executor = Executor::new(Seeds, limits);
    let topic = Topic::new("t").unwrap();
    run(&mut executor, 1_000_000, &[request(1, 1, Operation::Subscribe(topic.clone()))]);
    assert_eq!(executor.topics().subscribers(&topic).count(), 1);
    let executed = run(&mut executor, 2_000_000, &[request(2, 1, execute(b"a"))]);
    assert_eq!(executed.evicted, [request(1, 1, execute(b"")).request.id.session_key()]);
    assert_eq!(executor.topics().subscribers(&topic).count(), 0);
}

/// A9, C2: a session born ahead of agreed time raises the horizon beyond that when it is evicted;
/// such a state can be restored like any other.
#[test]
fn a_horizon_ahead_of_agreed_time_is_restored() {
    let limits = ExecutionLimits { sessions: 1, ..ExecutionLimits::default() };
    let mut executor = Executor::new(Seeds, limits.clone());
    for (session, born) in [(1, 1_000), (2, 2_000)] {
        let OrderedRequest { request, .. } = request(session, 1, execute(b"a"));
        let request = Request { born: UnixMicros(born), ..request };
        run(&mut executor, u64::from(session), &[ordered(request)]);
    }
    assert_eq!(
        (executor.time(), executor.sessions().horizon()),
        (UnixMicros(2), UnixMicros(1_000))
    );
    let snapshot = executor.snapshot();
    let restored: Executor<Seeds> = Executor::restore(&snapshot, limits).unwrap();
    assert_eq!(restored.snapshot(), snapshot);
    assert_eq!(restored.sessions().horizon(), UnixMicros(1_000));
}
