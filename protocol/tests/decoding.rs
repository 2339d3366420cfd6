//! Decoders and hostile bytes: no panic, no trailing bytes, no field beyond its limit.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use webbft_protocol::membership::{
    Cid, ClientId, Digest, Epoch, Regency, ServiceId, SessionId, ViewNumber,
};
use webbft_protocol::time::UnixMicros;
use webbft_protocol::wire::limits::{
    CHUNK_BYTES, MAX_BATCH_REQUESTS, MAX_CHUNKS, MAX_FETCH, MAX_PAYLOAD, MAX_PEER_FRAME, MAX_TOPIC,
    MAX_VOUCHES,
};
use webbft_protocol::wire::{
    Batch, BatchEntry, Certificate, CheckpointCertificate, CheckpointId, ClientHeader, ClientHello,
    Decision, DecodeError, ExecutionResult, LastProof, Manifest, Operation, PeerEnvelope,
    PeerMessage, ReplicaHeader, Request, RequestId, ServerHello, SignedStopData, Sync, Topic,
    Vouch, VouchGroup, Welcome, decode, encode,
};

/// Whatever decodes, decodes again from its own encoding to the same message.
fn stable<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(message) = decode::<T>(bytes) {
        let encoded = encode(&message);
        assert_eq!(decode::<T>(&encoded), Ok(message));
        assert!(encoded.len() <= bytes.len());
    }
}

fn all(bytes: &[u8]) {
    stable::<ClientHello>(bytes);
    stable::<ServerHello>(bytes);
    stable::<Welcome>(bytes);
    stable::<ClientHeader>(bytes);
    stable::<ReplicaHeader>(bytes);
    stable::<ExecutionResult>(bytes);
    stable::<Request>(bytes);
    stable::<PeerEnvelope>(bytes);
    if let Ok(request) = Request::decode(bytes) {
        assert_eq!(Request::decode(&request.encode()), Ok(request));
    }
    if let Ok(envelope) = PeerEnvelope::decode(bytes) {
        assert_eq!(PeerEnvelope::decode(&envelope.encode()), Ok(envelope));
    }
}

/// The pinned messages, as bytes to start from.
fn seeds() -> Vec<Vec<u8>> {
    let files = [
        include_str!("../../tests/vectors/hello.json"),
        include_str!("../../tests/vectors/request.json"),
        include_str!("../../tests/vectors/client.json"),
        include_str!("../../tests/vectors/replica.json"),
        include_str!("../../tests/vectors/result.json"),
        include_str!("../../tests/vectors/peer.json"),
    ];
    let mut seeds = Vec::new();
    for file in files {
        let vectors: Vec<serde_json::Value> = serde_json::from_str(file).unwrap();
        for vector in vectors {
            let hex = vector["hex"].as_str().unwrap().as_bytes();
            seeds.push(hex::decode(hex).unwrap());
        }
    }
    assert!(seeds.len() > 40);
    seeds
}

proptest! {
    #[test]
    fn arbitrary_bytes(bytes in vec(any::<u8>(), 0..400)) {
        all(&bytes);
    }

    #[test]
    fn damaged_messages(
        seed in any::<prop::sample::Index>(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        extra in vec(any::<u8>(), 0..3),
    ) {
        let seeds = seeds();
        let mut bytes = seed.get(&seeds).clone();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        all(&bytes);
        bytes.extend(extra);
        all(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        all(&bytes);
    }

    #[test]
    fn trailing_bytes(seed in any::<prop::sample::Index>(), extra in vec(any::<u8>(), 1..9)) {
        let seeds = seeds();
        let mut bytes = seed.get(&seeds).clone();
        if PeerEnvelope::decode(&bytes).is_ok() {
            bytes.extend(&extra);
            prop_assert_eq!(
                PeerEnvelope::decode(&bytes),
                Err(DecodeError::Trailing(extra.len()))
            );
        }
    }
}

fn id(number: u64) -> RequestId {
    RequestId { client: ClientId([1; 16]), session: SessionId([2; 16]), number }
}

fn request(number: u64, operation: Operation) -> Vec<u8> {
    let (service, born) = (ServiceId([3; 16]), UnixMicros(0));
    encode(&Request { service, id: id(number), born, operation })
}

#[test]
fn limits_of_requests() {
    let execute = |len| Operation::Execute(Bytes::from(vec![0; len]));
    let query = |len| Operation::Query(Bytes::from(vec![0; len]));
    assert!(Request::decode(&request(1, execute(MAX_PAYLOAD))).is_ok());
    assert!(Request::decode(&request(1, query(MAX_PAYLOAD))).is_ok());
    let too_long = Err(DecodeError::FieldTooLong);
    assert_eq!(Request::decode(&request(1, execute(MAX_PAYLOAD + 1))), too_long);
    assert_eq!(Request::decode(&request(1, query(MAX_PAYLOAD + 1))), too_long);
    // Numbers begin at 1.
    assert_eq!(Request::decode(&request(0, execute(1))), Err(DecodeError::Malformed));
}

#[test]
fn limits_of_topics() {
    assert!(Topic::new("x".repeat(MAX_TOPIC)).is_ok());
    assert!(Topic::new("x".repeat(MAX_TOPIC + 1)).is_err());
    assert!(Topic::new("").is_err());
    let longest = encode(&"x".repeat(MAX_TOPIC));
    assert!(decode::<Topic>(&longest).is_ok());
    for bytes in [encode(&"x".repeat(MAX_TOPIC + 1)), encode(&""), vec![1, 0xff]] {
        assert_eq!(decode::<Topic>(&bytes), Err(DecodeError::Malformed));
    }
}

fn peer(message: PeerMessage) -> Result<PeerEnvelope, DecodeError> {
    let envelope = PeerEnvelope { service: ServiceId([3; 16]), view: ViewNumber(0), message };
    PeerEnvelope::decode(&envelope.encode())
}

#[test]
fn limits_of_peer_messages() {
    let digest = Digest::default();
    let batch = |count: usize| Batch {
        time: UnixMicros(1),
        entries: vec![BatchEntry { id: id(1), digest }; count],
    };
    let group = |entries: usize| VouchGroup {
        client: ClientId([1; 16]),
        session: SessionId([2; 16]),
        born: UnixMicros(0),
        entries: vec![(1, digest); entries],
    };
    let vouches = |groups| PeerMessage::Vouches { replace: false, groups };
    let propose = |count| PeerMessage::Propose {
        cid: Cid(1),
        epoch: Epoch(1),
        batch: batch(count),
        signature: Bytes::new(),
    };
    let fetch = |count| PeerMessage::FetchBodies(vec![Vouch { id: id(1), digest }; count]);
    let sync = |entries, stop_datas| {
        let stop_data = SignedStopData { bytes: Bytes::new(), signature: Bytes::new() };
        let stop_datas = vec![stop_data; stop_datas];
        PeerMessage::Sync(Sync { regency: Regency(1), stop_datas, batch: batch(entries) })
    };
    let value = |entries, bodies| PeerMessage::Value {
        cid: Cid(1),
        batch: batch(entries),
        bodies: vec![Bytes::new(); bodies],
    };
    let decided = |entries, bodies, signatures| {
        PeerMessage::Decided(Decision {
            cid: Cid(1),
            batch: batch(entries),
            certificate: Certificate {
                epoch: Epoch(1),
                signatures: vec![Default::default(); signatures],
            },
            bodies: vec![Bytes::new(); bodies],
        })
    };
    let stable = |signatures| PeerMessage::StableCheckpoint {
        certificate: CheckpointCertificate {
            checkpoint: CheckpointId { cid: Cid(1), hash: digest, digest },
            signatures: vec![Default::default(); signatures],
        },
        first: Cid(1),
    };
    let report = |signatures| {
        let signatures = vec![Default::default(); signatures];
        let certificate = Certificate { epoch: Epoch(1), signatures };
        let proof = LastProof::Certificate(certificate);
        PeerMessage::Report { last_cid: Cid(1), last_hash: digest, proof }
    };
    let manifest = |service_bytes, chunks| {
        let (cid, hash, protocol_bytes) = (Cid(1), digest, 1);
        let chunks = vec![digest; chunks];
        PeerMessage::Manifest(Manifest { cid, hash, service_bytes, protocol_bytes, chunks })
    };
    let chunk = |len| {
        let bytes = Bytes::from(vec![0; len]);
        PeerMessage::Chunk { cid: Cid(1), index: 0, bytes }
    };
    let most = (MAX_CHUNKS as u64 - 1) * CHUNK_BYTES as u64;
    for message in [
        vouches(vec![group(MAX_VOUCHES)]),
        propose(MAX_BATCH_REQUESTS),
        fetch(MAX_FETCH),
        stable(64),
        report(64),
        manifest(most, MAX_CHUNKS),
        chunk(CHUNK_BYTES),
        sync(MAX_BATCH_REQUESTS, 64),
        value(2, 2),
        decided(MAX_BATCH_REQUESTS, MAX_BATCH_REQUESTS, 64),
    ] {
        assert!(peer(message).is_ok());
    }
    for message in [
        vouches(vec![group(MAX_VOUCHES + 1)]),
        // Empty groups are not free.
        vouches(vec![group(0); MAX_VOUCHES + 1]),
        propose(MAX_BATCH_REQUESTS + 1),
        fetch(MAX_FETCH + 1),
        sync(MAX_BATCH_REQUESTS + 1, 1),
        sync(1, 65),
        value(2, 1),
        value(MAX_BATCH_REQUESTS + 1, MAX_BATCH_REQUESTS + 1),
        decided(MAX_BATCH_REQUESTS + 1, MAX_BATCH_REQUESTS + 1, 1),
        decided(2, 1, 1),
        decided(1, 1, 65),
        stable(65),
        report(65),
        manifest(most + 1, MAX_CHUNKS + 1),
        // The chunks must fit the lengths.
        manifest(1, 1),
        manifest(u64::MAX, 1),
        chunk(CHUNK_BYTES + 1),
    ] {
        assert_eq!(peer(message), Err(DecodeError::FieldTooLong));
    }
    let (len, limit) = (MAX_PEER_FRAME + 1, MAX_PEER_FRAME);
    assert_eq!(PeerEnvelope::decode(&vec![0; len]), Err(DecodeError::TooLong { len, limit }));
}

#[test]
fn a_length_that_lies_does_not_allocate() {
    // A result of 2⁶⁰ bytes, of which five are there; a batch of 2⁶⁰ entries.
    let mut bytes = vec![0];
    bytes.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3, 4, 5]);
    assert_eq!(decode::<ExecutionResult>(&bytes), Err(DecodeError::Malformed));
    let mut bytes = encode(&UnixMicros(1));
    bytes.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert_eq!(decode::<Batch>(&bytes), Err(DecodeError::Malformed));
}
