//! The bytes of every message, pinned: what another implementation must read and write.
//!
//! `tests/vectors/*.json` at the root hold name, meaning and bytes. They change only on purpose:
//! `WEBBFT_UPDATE_VECTORS=1 cargo test -p webbft-protocol --test golden` writes them anew.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use webbft_protocol::auth::{
    ClientHandshake, ClientIdentity, NoiseKeypair, ServerHandshake, SigningKey, sign_accept,
    sign_checkpoint, sign_propose, sign_stop_data,
};
use webbft_protocol::membership::{
    Cid, ClientId, Digest, Epoch, MacAlgorithm, Member, Regency, ReplicaId, ServiceId, SessionId,
    View, ViewNumber,
};
use webbft_protocol::time::UnixMicros;
use webbft_protocol::wire::{
    Batch, BatchEntry, Certificate, CheckpointCertificate, ClientHeader, ClientHello, Decision,
    Evidence, ExecutionResult, Frame, HelloRefusal, LastProof, Manifest, Operation,
    PROTOCOL_VERSION, PeerEnvelope, PeerMessage, Refusal, ReplicaHeader, Request, RequestId,
    ServerHello, StopData, Sync, Topic, Vouch, VouchGroup, Welcome, decode, encode,
};

/// One pinned message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Vector {
    name: String,
    meaning: String,
    hex: String,
}

fn hex(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

/// A message, as its own bytes say and as the pinned ones do.
fn pin<T>(name: &str, message: &T) -> Vector
where
    T: Serialize + DeserializeOwned + std::fmt::Debug + PartialEq,
{
    let bytes = encode(message);
    assert_eq!(decode::<T>(&bytes).as_ref(), Ok(message), "{name}");
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(decode::<T>(&longer).is_err(), "{name}: trailing bytes");
    for len in 0..bytes.len() {
        assert!(decode::<T>(&bytes[..len]).is_err(), "{name}: {len} of {} bytes", bytes.len());
    }
    Vector { name: name.to_owned(), meaning: format!("{message:?}"), hex: hex(&bytes) }
}

/// Compares with the pinned vectors, or writes them where that is asked for.
fn check(file: &str, pinned: &str, vectors: Vec<Vector>) {
    if std::env::var_os("WEBBFT_UPDATE_VECTORS").is_some() {
        let path = format!("{}/../tests/vectors/{file}.json", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, serde_json::to_string_pretty(&vectors).unwrap() + "\n").unwrap();
        return;
    }
    let pinned: Vec<Vector> = serde_json::from_str(pinned).unwrap();
    for (vector, pinned) in vectors.iter().zip(&pinned) {
        assert_eq!(vector, pinned, "the bytes of {} have changed", vector.name);
    }
    assert_eq!(vectors.len(), pinned.len(), "messages without vectors, or the reverse");
}

macro_rules! check {
    ($file:literal, $vectors:expr) => {
        check($file, include_str!(concat!("../../tests/vectors/", $file, ".json")), $vectors)
    };
}

fn topic() -> Topic {
    Topic::new("news").unwrap()
}

const SESSION: SessionId = SessionId([0x22; 16]);
const VIEW: ViewNumber = ViewNumber(3);

fn id(number: u64) -> RequestId {
    RequestId { client: ClientId([0x11; 16]), session: SESSION, number }
}

fn request(number: u64, operation: Operation) -> Request {
    let born = UnixMicros(if number == 1 { 1_700_000_000_000_000 } else { 0 });
    Request { service: ServiceId([0x33; 16]), id: id(number), born, operation }
}

#[test]
fn hello() {
    let noise = Bytes::from_static(&[0xaa; 4]);
    check!(
        "hello",
        vec![
            pin(
                "client hello",
                &ClientHello {
                    version: PROTOCOL_VERSION,
                    service: ServiceId([0x33; 16]),
                    view: VIEW,
                    noise: noise.clone(),
                },
            ),
            pin("accepted", &ServerHello::Accepted { noise }),
            pin("refused: version", &ServerHello::Refused(HelloRefusal::Version(2))),
            pin(
                "refused: service",
                &ServerHello::Refused(HelloRefusal::Service(ServiceId([0x44; 16]))),
            ),
            pin("refused: view", &ServerHello::Refused(HelloRefusal::View(ViewNumber(300)))),
            pin("refused: key", &ServerHello::Refused(HelloRefusal::Key)),
            pin("refused: busy", &ServerHello::Refused(HelloRefusal::Busy)),
            pin(
                "welcome",
                &Welcome { last_cid: Cid(128), time: UnixMicros(1_700_000_000_000_000) }
            ),
        ]
    );
}

#[test]
fn requests() {
    let payload = Bytes::from_static(b"{\"op\":\"add\"}");
    check!(
        "request",
        vec![
            pin("execute, first", &request(1, Operation::Execute(payload.clone()))),
            pin("subscribe", &request(2, Operation::Subscribe(topic()))),
            pin("unsubscribe", &request(3, Operation::Unsubscribe(topic()))),
            pin("query", &request(u64::MAX, Operation::Query(payload))),
        ]
    );
}

#[test]
fn client_headers() {
    check!(
        "client",
        vec![
            pin("request", &ClientHeader::Request { full: true }),
            pin("query", &ClientHeader::Query { nonce: 7, min_cid: Cid(300), full: false }),
            pin("resume", &ClientHeader::Resume { session: SESSION, topic: topic(), next: 5 }),
            pin(
                "fetch event",
                &ClientHeader::FetchEvent { session: SESSION, topic: topic(), number: 6 },
            ),
            pin("ping", &ClientHeader::Ping { nonce: 1 << 40 }),
            pin(
                "announce",
                &ClientHeader::Announce { session: SESSION, topic: topic(), number: 8 },
            ),
        ]
    );
}

#[test]
fn replica_headers() {
    let digest = Digest::of(b"result");
    let refused = |refusal| ReplicaHeader::Refused {
        session: SESSION,
        number: 9,
        request: Digest::of(b"request"),
        refusal,
    };
    check!(
        "replica",
        vec![
            pin(
                "reply",
                &ReplicaHeader::Reply {
                    session: SESSION,
                    number: 9,
                    view: VIEW,
                    cid: Cid(200),
                    digest,
                    full: true,
                },
            ),
            pin(
                "query reply",
                &ReplicaHeader::QueryReply {
                    nonce: 7,
                    view: VIEW,
                    as_of: Cid(100),
                    executed: Cid(200),
                    digest,
                    full: false,
                },
            ),
            pin(
                "event",
                &ReplicaHeader::Event {
                    session: SESSION,
                    topic: topic(),
                    number: 5,
                    view: VIEW,
                    cid: Cid(200),
                    digest,
                    full: true,
                },
            ),
            pin("gap", &ReplicaHeader::Gap { session: SESSION, topic: topic(), first: 40 }),
            pin("refused: session expired", &refused(Refusal::SessionExpired)),
            pin("refused: window", &refused(Refusal::Window)),
            pin("refused: sessions", &refused(Refusal::Sessions)),
            pin("refused: equivocation", &refused(Refusal::Equivocation)),
            pin("refused: born in future", &refused(Refusal::BornInFuture)),
            pin("refused: service", &refused(Refusal::Service("no such key".to_owned()))),
            pin(
                "query refused",
                &ReplicaHeader::QueryRefused { nonce: 7, refusal: Refusal::Queries },
            ),
            pin(
                "pong",
                &ReplicaHeader::Pong {
                    nonce: 1 << 40,
                    last_cid: Cid(200),
                    time: UnixMicros(1_700_000_000_000_000),
                    leader: ReplicaId(2),
                },
            ),
            pin(
                "heads",
                &ReplicaHeader::Heads {
                    session: SESSION,
                    heads: vec![(topic(), 1), (topic(), 300)]
                },
            ),
            pin(
                "announcement",
                &ReplicaHeader::Announcement {
                    session: SESSION,
                    topic: topic(),
                    sender: request(1, Operation::Unsubscribe(topic())).id.session_key(),
                    number: 8,
                },
            ),
        ]
    );
}

#[test]
fn results() {
    check!(
        "result",
        vec![
            pin("value", &ExecutionResult::Value(Bytes::from_static(b"result"))),
            pin("faulted", &ExecutionResult::Faulted),
            pin("subscribed", &ExecutionResult::Subscribed { next: 41 }),
            pin("unsubscribed", &ExecutionResult::Unsubscribed),
            pin("too large", &ExecutionResult::TooLarge),
            pin("forgotten", &ExecutionResult::Forgotten),
            pin("too many subscriptions", &ExecutionResult::TooManySubscriptions),
        ]
    );
}

fn view(mac: MacAlgorithm) -> View {
    let key = |index: u8| NoiseKeypair::from_secret([index; 32]);
    let member = |index: u8| Member {
        id: ReplicaId(u16::from(index)),
        url: format!("ws://127.0.0.1:{}/ws", 7100 + u16::from(index)),
        peer_address: String::new(),
        public_key: SigningKey::from_secret(&[index; 32]).public(),
        noise_key: Digest(*key(index).public()),
    };
    View {
        service: ServiceId([0x33; 16]),
        number: VIEW,
        f: 1,
        mac,
        activation: Cid(1),
        previous: Digest::default(),
        members: (0..4).map(member).collect(),
    }
}

#[test]
fn peer_messages() {
    let view = view(MacAlgorithm::HmacSha256);
    let digest = Digest::of(b"request");
    let vouch = Vouch { id: id(9), digest };
    let batch = Batch {
        time: UnixMicros(1_700_000_000_000_000),
        entries: vec![BatchEntry { id: id(9), digest }],
    };
    let hash = batch.hash(view.service, view.number, Cid(200));
    let key = SigningKey::from_secret(&[0; 32]);
    let signature = sign_accept(&key, &view, Cid(200), Epoch(1), hash);
    let certificate =
        Certificate { epoch: Epoch(1), signatures: vec![(ReplicaId(0), signature.clone())] };
    let bodies = vec![Bytes::from_static(b"request")];
    let manifest = Manifest {
        cid: Cid(2048),
        hash: Digest([0x55; 32]),
        service_bytes: 1_048_577,
        protocol_bytes: 300,
        chunks: vec![Digest([0x66; 32]), Digest([0x77; 32]), Digest([0x88; 32])],
    };
    let checkpoint = manifest.id();
    let signed = sign_checkpoint(&key, &view, &checkpoint);
    let proposed = sign_propose(&key, &view, Cid(200), Epoch(1), hash);
    let stop_data = sign_stop_data(
        &key,
        &StopData {
            service: view.service,
            view: view.number,
            regency: Regency(2),
            replica: ReplicaId(0),
            last_cid: Cid(199),
            last_hash: digest,
            proof: LastProof::Certificate(certificate.clone()),
            accepted: Some((Epoch(1), hash)),
            writeset: vec![(Epoch(1), hash)],
        },
    );
    let messages = [
        ("status", PeerMessage::Status { last_cid: Cid(200), learner: true }),
        (
            "vouches",
            PeerMessage::Vouches {
                replace: true,
                groups: vec![VouchGroup {
                    client: ClientId([0x11; 16]),
                    session: SESSION,
                    born: UnixMicros(1),
                    entries: vec![(1, digest), (2, digest)],
                }],
            },
        ),
        ("resend vouches", PeerMessage::ResendVouches),
        ("fetch bodies", PeerMessage::FetchBodies(vec![vouch])),
        ("body", PeerMessage::Body(Bytes::from_static(b"request"))),
        (
            "propose",
            PeerMessage::Propose {
                cid: Cid(200),
                epoch: Epoch(1),
                batch: batch.clone(),
                signature: proposed.clone(),
            },
        ),
        ("write", PeerMessage::Write { cid: Cid(200), epoch: Epoch(1), hash }),
        ("accept", PeerMessage::Accept { cid: Cid(200), epoch: Epoch(1), hash, signature }),
        ("fetch decisions", PeerMessage::FetchDecisions { from: Cid(150) }),
        (
            "decided",
            PeerMessage::Decided(Decision {
                cid: Cid(200),
                batch: batch.clone(),
                certificate: certificate.clone(),
                bodies: bodies.clone(),
            }),
        ),
        (
            "stop",
            PeerMessage::Stop {
                regency: Regency(2),
                evidence: Some(Evidence::TwoProposals {
                    cid: Cid(200),
                    epoch: Epoch(2),
                    proposals: [(hash, proposed.clone()), (digest, proposed)],
                }),
            },
        ),
        ("stop data", PeerMessage::StopData(stop_data.clone())),
        (
            "sync",
            PeerMessage::Sync(Sync {
                regency: Regency(2),
                stop_datas: vec![stop_data],
                batch: batch.clone(),
            }),
        ),
        ("fetch value", PeerMessage::FetchValue { cid: Cid(200), hash }),
        (
            "value",
            PeerMessage::Value { cid: Cid(200), batch: batch.clone(), bodies: bodies.clone() },
        ),
        (
            "stable checkpoint",
            PeerMessage::StableCheckpoint {
                certificate: CheckpointCertificate {
                    checkpoint,
                    signatures: vec![(ReplicaId(0), signed.clone())],
                },
                first: Cid(170),
            },
        ),
        ("checkpoint", PeerMessage::Checkpoint { checkpoint, signature: signed }),
        ("fetch manifest", PeerMessage::FetchManifest { cid: Cid(2048) }),
        ("manifest", PeerMessage::Manifest(manifest)),
        ("fetch chunk", PeerMessage::FetchChunk { cid: Cid(2048), index: 300 }),
        (
            "chunk",
            PeerMessage::Chunk {
                cid: Cid(2048),
                index: 300,
                bytes: Bytes::from_static(b"part of a state"),
            },
        ),
        ("checkpoint gone", PeerMessage::CheckpointGone { cid: Cid(2048) }),
        (
            "report",
            PeerMessage::Report {
                last_cid: Cid(199),
                last_hash: digest,
                proof: LastProof::Certificate(certificate),
            },
        ),
    ];
    let mut vectors: Vec<Vector> = messages
        .into_iter()
        .map(|(name, message)| {
            let envelope = PeerEnvelope { service: view.service, view: view.number, message };
            assert_eq!(PeerEnvelope::decode(&envelope.encode()).as_ref(), Ok(&envelope));
            pin(name, &envelope)
        })
        .collect();
    let raw = |name: &str, meaning: &str, bytes: &[u8]| Vector {
        name: name.to_owned(),
        meaning: meaning.to_owned(),
        hex: hex(bytes),
    };
    vectors.push(raw("batch hash", "of the batch above, at instance 200 of view 3", &hash.0));
    let signed = PeerMessage::accept_bytes(view.service, view.number, Cid(200), Epoch(1), hash);
    vectors.push(raw("accept, as signed", "the bytes under the signature above", &signed));
    check!("peer", vectors);
}

/// A whole link, byte for byte: secrets 32 × 01 (client), 32 × 02 (the replica at position 2),
/// ephemeral seeds 32 × 0a and 32 × 0b.
#[test]
fn links() {
    let mut vectors = Vec::new();
    for (name, mac) in
        [("hmac-sha256", MacAlgorithm::HmacSha256), ("hmac-sha1", MacAlgorithm::HmacSha1)]
    {
        let view = view(mac);
        let identity = ClientIdentity::from_secret([1; 32]);
        let keypair = NoiseKeypair::from_secret([2; 32]);
        let welcome = Welcome { last_cid: Cid(128), time: UnixMicros(1_700_000_000_000_000) };
        let (handshake, hello) = ClientHandshake::begin(&view, 2, &identity, [0x0a; 32]);
        let server = ServerHandshake { view: &view, keypair: &keypair };
        let accepted = server.accept(&hello, &welcome, [0x0b; 32]).unwrap();
        let reply = accepted.reply.clone();
        let (mut client, told) = handshake.finish(&reply).unwrap();
        let mut replica = accepted.link;
        assert_eq!(*told, welcome);
        let body = request(1, Operation::Execute(Bytes::from_static(b"op"))).encode();
        let from_client = Frame::new(ClientHeader::Request { full: true }, body);
        let result = encode(&ExecutionResult::Value(Bytes::from_static(b"result")));
        let header = ReplicaHeader::Reply {
            session: SESSION,
            number: 1,
            view: VIEW,
            cid: Cid(200),
            digest: Digest::of(&result),
            full: true,
        };
        let from_replica = Frame::new(header, result.into());
        let mut add = |what: &str, bytes: &[u8]| {
            vectors.push(Vector {
                name: format!("{name}: {what}"),
                meaning: "see the test `links`".to_owned(),
                hex: hex(bytes),
            });
        };
        add("client id", &identity.id().0);
        add("client hello", &hello);
        add("server hello", &reply);
        for count in ["first", "second"] {
            let bytes = client.seal(&from_client);
            add(&format!("{count} frame of the client"), &bytes);
            assert_eq!(replica.open(&bytes.into()).unwrap().into_inner(), from_client);
            let bytes = replica.seal(&from_replica);
            add(&format!("{count} frame of the replica"), &bytes);
            assert_eq!(client.open(&bytes.into()).unwrap().into_inner(), from_replica);
        }
    }
    check!("link", vectors);
}
