use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::execution::{Answer, Context, Executed, OrderedRequest};
use crate::membership::{ClientId, ServiceId, SessionId};
use crate::wire::{Operation, Request};

/// Keeps what it is told, publishes it where it is told to, and can be made to panic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Tape(Vec<u8>);

impl Service for Tape {
    fn execute(&mut self, operation: &[u8], context: &mut Context<'_>) -> Vec<u8> {
        self.0.extend(operation);
        self.0.extend(&context.seed()[..1]);
        if let Some((kind, rest)) = operation.split_first() {
            assert_ne!(*kind, 0, "asked to panic");
            if *kind < 128 {
                context.publish(format!("t{}", kind % 3), rest.to_vec());
            }
        }
        self.0.len().to_be_bytes().to_vec()
    }

    fn query(&self, query: &[u8]) -> Answer {
        Answer { result: [query, &self.0].concat(), as_of: None }
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.clone()
    }

    fn restore(snapshot: &[u8]) -> Result<Self, RestoreError> {
        assert_ne!(snapshot, b"panic");
        if snapshot == b"bad" { Err(RestoreError("no".into())) } else { Ok(Self(snapshot.into())) }
    }
}

fn limits() -> ExecutionLimits {
    ExecutionLimits {
        sessions: 4,
        session_idle: Duration::from_micros(300),
        subscriptions: 2,
        ring: 5,
        checkpoint_every: 7,
        checkpoint_bytes: 40,
        checkpoint_pause: Duration::from_micros(50),
    }
}

/// One request of one of eight sessions.
#[derive(Debug, Clone)]
enum Step {
    Execute(Vec<u8>),
    Query(Vec<u8>),
    Subscribe(u8),
    Unsubscribe(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..12).prop_map(Step::Execute),
        1 => vec(any::<u8>(), 0..4).prop_map(Step::Query),
        2 => (0..4_u8).prop_map(Step::Subscribe),
        1 => (0..4_u8).prop_map(Step::Unsubscribe),
    ]
}

fn operation(step: &Step) -> Operation {
    let topic = |n: u8| Topic::new(format!("t{n}")).unwrap();
    match step {
        Step::Execute(payload) => Operation::Execute(Bytes::copy_from_slice(payload)),
        Step::Query(payload) => Operation::Query(Bytes::copy_from_slice(payload)),
        Step::Subscribe(n) => Operation::Subscribe(topic(*n)),
        Step::Unsubscribe(n) => Operation::Unsubscribe(topic(*n)),
    }
}

/// (time since the last batch, requests as (session, what)).
type Plan = Vec<(u64, Vec<(u8, Step)>)>;

fn plan() -> impl Strategy<Value = Plan> {
    vec((1..90_u64, vec((0..8_u8, step()), 0..5)), 1..30)
}

/// Executes one batch, with the number that each session has reached.
fn execute(executor: &mut Executor<Tape>, wait: u64, requests: &[(u8, Step)]) -> Executed {
    let cid = executor.last_cid().next();
    let time = UnixMicros(executor.time().0 + wait);
    let mut numbers = std::collections::BTreeMap::new();
    let ordered: Vec<OrderedRequest> = requests
        .iter()
        .map(|(session, step)| {
            let key = SessionKey { client: ClientId([*session; 16]), session: SessionId([1; 16]) };
            let number = numbers
                .entry(key)
                .or_insert_with(|| executor.sessions().last_number(&key).unwrap_or(0));
            *number += 1;
            let request = Request {
                service: ServiceId([2; 16]),
                id: key.request(*number),
                born: UnixMicros(time.0 + u64::from(*session)),
                operation: operation(step),
            };
            let digest = Request::digest(&request.encode());
            OrderedRequest { request, digest }
        })
        .collect();
    executor.execute(ViewNumber(cid.0 / 10), cid, Digest::of(&encode(&cid)), time, &ordered)
}

fn run(plan: &Plan) -> Executor<Tape> {
    let mut executor = Executor::new(Tape::default(), limits());
    for (wait, requests) in plan {
        execute(&mut executor, *wait, requests);
    }
    executor
}

fn restored(snapshot: &Snapshot) -> Result<Executor<Tape>, SnapshotError> {
    Executor::restore(snapshot, limits())
}

proptest! {
    /// A restored replica executes as the others do: replies, events, evictions, checkpoints.
    #[test]
    #[cfg_attr(target_family = "wasm", ignore = "a panic ends a Wasm program")]
    fn execution_goes_on_the_same_after_a_restore(before in plan(), after in plan()) {
        let mut original = run(&before);
        let snapshot = original.snapshot();
        let parts = (snapshot.manifest().clone(), snapshot.chunks().to_vec());
        prop_assert_eq!(Snapshot::from_parts(parts.0, parts.1).unwrap(), snapshot.clone());
        let mut copy = restored(&snapshot).unwrap();
        prop_assert_eq!(copy.snapshot(), snapshot);
        for (wait, requests) in &after {
            let (one, other) =
                (execute(&mut original, *wait, requests), execute(&mut copy, *wait, requests));
            prop_assert_eq!(one, other);
        }
        for key in original.sessions().keys() {
            for number in 0..40 {
                let (one, other) = (original.sessions(), copy.sessions());
                prop_assert_eq!(one.reply(key, number), other.reply(key, number));
            }
        }
        for topic in ["t0", "t1", "t2", "t3"].map(|name| Topic::new(name).unwrap()) {
            let (one, other) = (original.topics(), copy.topics());
            prop_assert_eq!(one.resume(&topic, 0), other.resume(&topic, 0));
            prop_assert!(one.subscribers(&topic).eq(other.subscribers(&topic)));
        }
        prop_assert_eq!(original.snapshot(), copy.snapshot());
    }

    /// A clone is not touched by what is executed after it (rule C1).
    #[test]
    #[cfg_attr(target_family = "wasm", ignore = "a panic ends a Wasm program")]
    fn a_clone_stands_still(before in plan(), after in plan()) {
        let mut executor = run(&before);
        let (clone, snapshot) = (executor.clone(), executor.snapshot());
        for (wait, requests) in &after {
            execute(&mut executor, *wait, requests);
        }
        prop_assert_eq!(clone.snapshot(), snapshot);
    }

    /// Damaged bytes give an error or a state that the bytes describe; never a panic.
    #[test]
    #[cfg_attr(target_family = "wasm", ignore = "a panic ends a Wasm program")]
    fn damaged_snapshots(
        before in plan(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        truncate in any::<bool>(),
    ) {
        let snapshot = run(&before).snapshot();
        let protocol = snapshot.chunks().last().unwrap();
        let mut bytes = protocol.to_vec();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if truncate {
            bytes.truncate(cut.index(bytes.len()));
        }
        let id = snapshot.id();
        let damaged = Snapshot::cut(id.cid, id.hash, b"x".to_vec(), bytes);
        if let Ok(executor) = restored(&damaged) {
            // What was accepted is a state of its own: it restores to itself.
            let again = executor.snapshot();
            prop_assert_eq!(restored(&again).unwrap().snapshot(), again);
        }
    }

    #[test]
    fn arbitrary_snapshots(bytes in vec(any::<u8>(), 0..200)) {
        let arbitrary = Snapshot::cut(Cid(9), Digest::default(), Vec::new(), bytes);
        drop(restored(&arbitrary));
    }
}

fn whole(service: &[u8], saved: &[u8]) -> Snapshot {
    Snapshot::cut(Cid(9), Digest::default(), service.to_vec(), saved.to_vec())
}

fn header() -> SavedHeader {
    SavedHeader {
        format: FORMAT,
        time: UnixMicros(100),
        horizon: UnixMicros(10),
        schedule: CheckpointSchedule::default(),
        sessions: 0,
        topics: 0,
    }
}

#[test]
fn what_cannot_be_restored_is_named() {
    let valid = encode(&header());
    assert!(restored(&whole(b"", &valid)).is_ok());
    let other = encode(&SavedHeader { format: 2, ..header() });
    assert_eq!(restored(&whole(b"", &other)).unwrap_err(), SnapshotError::Format(2));
    let error = restored(&whole(b"bad", &valid)).unwrap_err();
    assert_eq!(error, SnapshotError::Service(RestoreError("no".into())));
    let longer = [&valid[..], &[0]].concat();
    assert_eq!(restored(&whole(b"", &longer)).unwrap_err(), SnapshotError::Invalid("end"));
    assert_eq!(restored(&whole(b"", b"")).unwrap_err(), SnapshotError::Invalid("header"));
    // A checkpoint later than the state.
    let schedule = CheckpointSchedule { time: UnixMicros(101), ..CheckpointSchedule::default() };
    let later = encode(&SavedHeader { schedule, ..header() });
    assert_eq!(restored(&whole(b"", &later)).unwrap_err(), SnapshotError::Invalid("header"));
    // The horizon may be later: a session born ahead of agreed time has been evicted.
    let ahead = encode(&SavedHeader { horizon: UnixMicros(101), ..header() });
    assert!(restored(&whole(b"", &ahead)).is_ok());
}

#[test]
#[cfg_attr(target_family = "wasm", ignore = "a panic ends a Wasm program")]
fn a_service_that_panics_on_a_snapshot_is_named() {
    let error = restored(&whole(b"panic", &encode(&header()))).unwrap_err();
    assert_eq!(error, SnapshotError::Panicked);
}

/// Sessions that no sequence of batches leads to.
#[test]
fn impossible_sessions() {
    let key = SessionKey { client: ClientId([1; 16]), session: SessionId([1; 16]) };
    let good = || SavedSession {
        key,
        last_time: UnixMicros(50),
        last_number: 3,
        replies: vec![(ViewNumber(0), Cid(8), Bytes::new()), (ViewNumber(0), Cid(9), Bytes::new())],
        subscriptions: vec![Topic::new("a").unwrap(), Topic::new("b").unwrap()],
    };
    let with = |sessions: &[SavedSession]| {
        let mut bytes = encode(&SavedHeader { sessions: sessions.len() as u64, ..header() });
        bytes.extend(sessions.iter().flat_map(encode));
        restored(&whole(b"", &bytes)).map(drop)
    };
    assert_eq!(with(&[good()]), Ok(()));
    let reply = |cid| (ViewNumber(0), Cid(cid), Bytes::new());
    let topics = |names: &[&str]| names.iter().map(|name| Topic::new(*name).unwrap()).collect();
    let invalid = Err(SnapshotError::Invalid("session"));
    // Twice, or not in order.
    assert_eq!(with(&[good(), good()]), invalid);
    assert_eq!(with(&[SavedSession { last_time: UnixMicros(10), ..good() }]), invalid);
    assert_eq!(with(&[SavedSession { replies: vec![], ..good() }]), invalid);
    assert_eq!(with(&[SavedSession { last_number: 1, ..good() }]), invalid);
    assert_eq!(with(&[SavedSession { replies: vec![reply(9), reply(8)], ..good() }]), invalid);
    assert_eq!(with(&[SavedSession { replies: vec![reply(10)], ..good() }]), invalid);
    assert_eq!(with(&[SavedSession { replies: vec![reply(1); 129], ..good() }]), invalid);
    let unordered = SavedSession { subscriptions: topics(&["b", "a"]), ..good() };
    assert_eq!(with(&[unordered]), invalid);
    let many = SavedSession { subscriptions: topics(&["a", "b", "c"]), ..good() };
    assert_eq!(with(&[many]), invalid);
    let distinct = |n: u8| SavedSession {
        key: SessionKey { client: ClientId([n; 16]), session: SessionId([1; 16]) },
        ..good()
    };
    let five: Vec<SavedSession> = (0..5).map(distinct).collect();
    assert_eq!(with(&five[..4]), Ok(()));
    assert_eq!(with(&five), invalid);
}

#[test]
fn a_chunk_that_is_not_the_manifests_is_refused() {
    let service = vec![7; CHUNK_BYTES + 1];
    let snapshot = Snapshot::cut(Cid(1), Digest::default(), service, b"rest".to_vec());
    assert_eq!(snapshot.chunks().len(), 3);
    let parts = || (snapshot.manifest().clone(), snapshot.chunks().to_vec());
    let (manifest, mut chunks) = parts();
    chunks[1] = Bytes::from_static(b"8");
    assert_eq!(Snapshot::from_parts(manifest, chunks), Err(SnapshotError::Chunk(1)));
    let (manifest, mut chunks) = parts();
    chunks.pop();
    let count = SnapshotError::Count { named: 3, found: 2 };
    assert_eq!(Snapshot::from_parts(manifest, chunks), Err(count));
    let (mut manifest, chunks) = parts();
    manifest.service_bytes = u64::MAX;
    assert_eq!(Snapshot::from_parts(manifest, chunks), Err(SnapshotError::Manifest));
}

/// How long the turn stands still for a checkpoint of a full session table: a clone.
#[test]
#[ignore = "a measurement: cargo test --release -p webbft-protocol --lib -- --ignored --nocapture"]
#[allow(clippy::print_stdout)]
fn measure_a_clone_of_a_full_session_table() {
    let limits = ExecutionLimits::default();
    let count = limits.sessions as u64;
    let mut executor = Executor::new(Tape::default(), limits);
    let subscribed = Operation::Subscribe(Topic::new("news").unwrap());
    for batch in 0..count / 64 * 4 {
        let ordered: Vec<OrderedRequest> = (0..64)
            .map(|n| {
                let session = batch / 4 * 64 + n;
                let mut client = [0; 16];
                client[..8].copy_from_slice(&session.to_be_bytes());
                let key = SessionKey { client: ClientId(client), session: SessionId([1; 16]) };
                let request = Request {
                    service: ServiceId([2; 16]),
                    id: key.request(batch % 4 + 1),
                    born: UnixMicros(1),
                    operation: subscribed.clone(),
                };
                OrderedRequest { digest: Digest::default(), request }
            })
            .collect();
        let (cid, time) = (Cid(batch + 1), UnixMicros(batch + 1));
        executor.execute(ViewNumber(0), cid, Digest::default(), time, &ordered);
    }
    assert_eq!(executor.sessions().len() as u64, count);
    let best = (0..20)
        .map(|_| {
            let begin = std::time::Instant::now();
            let clone = executor.clone();
            let took = begin.elapsed();
            assert_eq!(clone.last_cid(), executor.last_cid());
            took
        })
        .min();
    println!("clone of {count} sessions: {best:?}");
    let begin = std::time::Instant::now();
    let bytes = executor.snapshot().bytes();
    println!("snapshot of {bytes} bytes: {:?}", begin.elapsed());
}
