//! A state as bytes, from a disk or from peers, damaged before its digests were computed.

use std::time::Duration;

use bytes::Bytes;
use webbft_protocol::execution::{ExecutionLimits, Executor, OrderedRequest, Snapshot};
use webbft_protocol::membership::{Cid, Digest, ServiceId, SessionId, ViewNumber};
use webbft_protocol::time::UnixMicros;
use webbft_protocol::wire::{Manifest, Operation, Request, RequestId, Topic};

use crate::choices::Choices;
use crate::group::identity;
use crate::service::Chain;

fn limits() -> ExecutionLimits {
    ExecutionLimits {
        sessions: 4,
        session_idle: Duration::from_secs(1),
        subscriptions: 2,
        ring: 2,
        ..ExecutionLimits::default()
    }
}

/// A state that is not damaged is restored as it was; one that is makes an error at most.
pub fn snapshot(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let executor = state(&mut choices);
    let taken = executor.snapshot();
    let manifest = taken.manifest().clone();
    let restored: Executor<Chain> =
        Executor::restore(&taken, limits()).expect("what was taken can be restored");
    assert_eq!(restored.snapshot(), taken, "a state changes on its way");

    // The chunks of the service, then those of the protocol.
    let (service, protocol) = taken.chunks().split_at(manifest.service_chunks());
    let mut service: Vec<u8> = service.concat();
    let mut protocol: Vec<u8> = protocol.concat();
    let length = |bytes: &[u8]| bytes.len() as u64;
    if choices.one_in(4) {
        choices.damage(&mut service);
    }
    choices.damage(&mut protocol);
    let chunks: Vec<Bytes> = [&service, &protocol]
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(|part| Bytes::from(part.clone()))
        .collect();
    let manifest = Manifest {
        service_bytes: length(&service),
        protocol_bytes: length(&protocol),
        chunks: chunks.iter().map(|chunk| Digest::of(chunk)).collect(),
        ..manifest
    };
    let Ok(damaged) = Snapshot::from_parts(manifest, chunks) else { return };
    if let Ok(restored) = Executor::<Chain>::restore(&damaged, limits()) {
        // Whatever it is, it is a state: it can be taken and restored again.
        let again = restored.snapshot();
        Executor::<Chain>::restore(&again, limits()).expect("what was taken can be restored");
    }
}

/// A state that some batches lead to.
fn state(choices: &mut Choices<'_>) -> Executor<Chain> {
    let mut executor = Executor::new(Chain::default(), limits());
    for _ in 0..choices.byte() % 8 {
        let time = UnixMicros(executor.time().0 + 1 + u64::from(choices.byte()) * 10_000);
        let session = SessionId([choices.byte() % 6; 16]);
        let client = identity(usize::from(choices.byte() % 2)).id();
        let key = RequestId { client, session, number: 0 }.session_key();
        let number = executor.sessions().last_number(&key).unwrap_or(0) + 1;
        let topic = Topic::new(if choices.flag() { "t" } else { "u" }).expect("a topic");
        let operation = match choices.byte() % 6 {
            0 => Operation::Subscribe(topic),
            1 => Operation::Unsubscribe(topic),
            2 => Operation::Query(Bytes::new()),
            _ => Operation::Execute(choices.bytes(12).into()),
        };
        let id = key.request(number);
        let request = Request { service: ServiceId([1; 16]), id, born: time, operation };
        let digest = Request::digest(&request.encode());
        let cid = executor.last_cid().next();
        let hash = Digest::of(&Cid::ZERO.0.to_le_bytes());
        let ordered = [OrderedRequest { request, digest }];
        executor.execute(ViewNumber(0), cid, hash, time, &ordered);
    }
    executor
}
