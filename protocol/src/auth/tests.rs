//! Handshakes and frames, honest and not.

use bytes::Bytes;

use super::*;
use crate::membership::{
    Cid, Digest, MacAlgorithm, Member, ReplicaId, ServiceId, SessionId, View, ViewNumber,
};
use crate::time::UnixMicros;
use crate::wire::limits::{MAX_CLIENT_FRAME, MAX_RESULT};
use crate::wire::{
    ClientFrame, ClientHeader, ClientHello, DecodeError, Frame, HelloRefusal, PROTOCOL_VERSION,
    ReplicaFrame, ReplicaHeader, ServerHello, Topic, Welcome, decode, encode,
};

const MACS: [MacAlgorithm; 2] = [MacAlgorithm::HmacSha256, MacAlgorithm::HmacSha1];

fn keypair(index: u8) -> NoiseKeypair {
    NoiseKeypair::from_secret([100 + index; 32])
}

fn view(mac: MacAlgorithm) -> View {
    View {
        service: ServiceId([7; 16]),
        number: ViewNumber(2),
        f: 1,
        mac,
        activation: Cid(1),
        previous: Digest::default(),
        members: (0..4_u8)
            .map(|id| Member {
                id: ReplicaId(u16::from(id)),
                url: "ws://127.0.0.1:1".to_owned(),
                peer_address: String::new(),
                public_key: Digest([id; 32]),
                noise_key: Digest(*keypair(id).public()),
            })
            .collect(),
    }
}

const WELCOME: Welcome = Welcome { last_cid: Cid(9), time: UnixMicros(77) };

fn identity() -> ClientIdentity {
    ClientIdentity::from_secret([1; 32])
}

/// An established link with the replica at position 2.
fn link(mac: MacAlgorithm) -> (ClientLink, ReplicaLink) {
    let view = view(mac);
    let (handshake, hello) = ClientHandshake::begin(&view, 2, &identity(), [3; 32]);
    let server = ServerHandshake { view: &view, keypair: &keypair(2) };
    let accepted = server.accept(&hello, &WELCOME, [4; 32]).unwrap();
    let (client, welcome) = handshake.finish(&accepted.reply).unwrap();
    assert_eq!(*welcome, WELCOME);
    assert_eq!(accepted.link.client(), identity().id());
    (client, accepted.link)
}

fn request() -> ClientFrame {
    let header = ClientHeader::Resume {
        session: SessionId([5; 16]),
        topic: Topic::new("topic").unwrap(),
        next: 300,
    };
    Frame::new(header, Bytes::from_static(b"a body"))
}

fn reply() -> ReplicaFrame {
    let header = ReplicaHeader::Gap {
        session: SessionId([5; 16]),
        topic: Topic::new("topic").unwrap(),
        first: 4,
    };
    Frame::new(header, Bytes::from_static(b"another body"))
}

#[test]
fn frames_travel_both_ways_under_both_macs() {
    for mac in MACS {
        let (mut client, mut replica) = link(mac);
        for _ in 0..3 {
            let bytes = Bytes::from(client.seal(&request()));
            assert_eq!(replica.open(&bytes).unwrap().into_inner(), request());
            let bytes = Bytes::from(replica.seal(&reply()));
            assert_eq!(client.open(&bytes).unwrap().into_inner(), reply());
        }
    }
}

#[test]
fn the_hello_shows_nothing_but_service_and_view() {
    let (_, hello) = ClientHandshake::begin(&view(MACS[0]), 2, &identity(), [3; 32]);
    let hello: ClientHello = decode(&hello).unwrap();
    assert_eq!(
        (hello.version, hello.service, hello.view, hello.noise.len()),
        (PROTOCOL_VERSION, ServiceId([7; 16]), ViewNumber(2), 96)
    );
    let public = identity().keypair().public().to_vec();
    assert!(!hello.noise.windows(32).any(|window| window == public));
}

#[test]
fn what_a_replica_refuses() {
    let right = view(MACS[0]);
    let other_service = View { service: ServiceId([8; 16]), ..right.clone() };
    let other_view = View { number: ViewNumber(3), ..right.clone() };
    let mut other_key = right.clone();
    other_key.members[2].noise_key = Digest(*keypair(3).public());
    let (_, hello) = ClientHandshake::begin(&right, 2, &identity(), [3; 32]);
    let mut hello: ClientHello = decode(&hello).unwrap();
    hello.version += 1;
    let cases = [
        (
            ClientHandshake::begin(&other_service, 2, &identity(), [3; 32]).1,
            LinkError::Refused(HelloRefusal::Service(ServiceId([7; 16]))),
        ),
        (
            ClientHandshake::begin(&other_view, 2, &identity(), [3; 32]).1,
            LinkError::Refused(HelloRefusal::View(ViewNumber(2))),
        ),
        (ClientHandshake::begin(&other_key, 2, &identity(), [3; 32]).1, LinkError::Key),
        (encode(&hello), LinkError::Refused(HelloRefusal::Version(PROTOCOL_VERSION))),
        (vec![], LinkError::Malformed(DecodeError::Malformed)),
        (vec![0xff; 200], LinkError::Malformed(DecodeError::Malformed)),
    ];
    for (hello, expected) in cases {
        let server = ServerHandshake { view: &right, keypair: &keypair(2) };
        let (error, frame) = server.accept(&hello, &WELCOME, [4; 32]).unwrap_err();
        assert_eq!(error, expected);
        let refusal = match expected {
            LinkError::Refused(refusal) => refusal,
            _ => HelloRefusal::Key,
        };
        assert_eq!(decode::<ServerHello>(&frame), Ok(ServerHello::Refused(refusal)));
        // The client is told why.
        let (handshake, _) = ClientHandshake::begin(&right, 2, &identity(), [3; 32]);
        let told = handshake.finish(&frame).unwrap_err();
        assert_eq!(told, LinkError::Refused(refusal));
    }
}

#[test]
fn every_bit_of_a_hello_counts() {
    let view = view(MACS[0]);
    let (_, hello) = ClientHandshake::begin(&view, 2, &identity(), [3; 32]);
    let server = ServerHandshake { view: &view, keypair: &keypair(2) };
    let accepted = server.accept(&hello, &WELCOME, [4; 32]).unwrap();
    let (mut hello, mut reply) = (hello, accepted.reply);
    for bit in 0..hello.len() * 8 {
        // The highest bit of an X25519 key is ignored; Noise hashes it all the same.
        hello[bit / 8] ^= 1 << (bit % 8);
        assert!(server.accept(&hello, &WELCOME, [4; 32]).is_err(), "bit {bit}");
        hello[bit / 8] ^= 1 << (bit % 8);
    }
    for bit in 0..reply.len() * 8 {
        reply[bit / 8] ^= 1 << (bit % 8);
        let (handshake, _) = ClientHandshake::begin(&view, 2, &identity(), [3; 32]);
        assert!(handshake.finish(&reply).is_err(), "bit {bit}");
        reply[bit / 8] ^= 1 << (bit % 8);
    }
    for len in 0..reply.len() {
        let (handshake, _) = ClientHandshake::begin(&view, 2, &identity(), [3; 32]);
        assert!(handshake.finish(&reply[..len]).is_err(), "{len} bytes");
    }
    let (handshake, _) = ClientHandshake::begin(&view, 2, &identity(), [3; 32]);
    assert!(handshake.finish(&reply).is_ok());
}

#[test]
fn an_answer_to_another_handshake_does_not_fit() {
    let view = view(MACS[0]);
    let server = ServerHandshake { view: &view, keypair: &keypair(2) };
    let (_, hello) = ClientHandshake::begin(&view, 2, &identity(), [3; 32]);
    let accepted = server.accept(&hello, &WELCOME, [4; 32]).unwrap();
    let (other, _) = ClientHandshake::begin(&view, 2, &identity(), [5; 32]);
    assert_eq!(other.finish(&accepted.reply).unwrap_err(), LinkError::Key);
}

#[test]
fn every_bit_of_a_frame_counts() {
    for mac in MACS {
        let (mut client, replica) = link(mac);
        let mut bytes = client.seal(&request());
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let mut replica = replica.clone();
            assert!(replica.open(&Bytes::from(bytes.clone())).is_err(), "{mac:?}, bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for len in 0..bytes.len() {
            let mut replica = replica.clone();
            assert!(replica.open(&Bytes::copy_from_slice(&bytes[..len])).is_err(), "{len} bytes");
        }
        bytes.push(0);
        assert!(replica.clone().open(&Bytes::from(bytes.clone())).is_err());
        bytes.pop();
        assert!(replica.clone().open(&Bytes::from(bytes)).is_ok());
    }
}

#[test]
fn replayed_and_reordered_frames_are_forged_ones() {
    for mac in MACS {
        let (mut client, mut replica) = link(mac);
        let [first, second, third] = [0; 3].map(|_| Bytes::from(client.seal(&request())));
        let forged = VerifyError::Mac(MacError);
        assert!(replica.open(&first).is_ok());
        assert_eq!(replica.open(&first).unwrap_err(), forged);
        assert_eq!(replica.open(&third).unwrap_err(), forged);
        assert!(replica.open(&second).is_ok());
    }
}

#[test]
fn frames_belong_to_their_direction_and_link() {
    let (mut client, mut replica) = link(MACS[0]);
    let own = Bytes::from(client.seal(&Frame::bare(ClientHeader::Ping { nonce: 1 })));
    // Reflected to its sender.
    assert_eq!(client.open(&own).unwrap_err(), VerifyError::Mac(MacError));
    // Sent on a link of another key.
    let (_, mut other) = link(MACS[1]);
    assert!(other.open(&own).is_err());
    assert!(replica.open(&own).is_ok());
}

#[test]
fn a_well_maced_frame_that_is_no_message_is_malformed() {
    let (mut client, mut replica) = link(MACS[0]);
    // A replica's header on a client's link: the MAC is right, the message is not.
    let header = ReplicaHeader::Heads { session: SessionId([1; 16]), heads: vec![] };
    let bytes = client.seal_any(&Frame::bare(header));
    let malformed = VerifyError::Decode(DecodeError::Malformed);
    assert_eq!(replica.open(&Bytes::from(bytes)).unwrap_err(), malformed);
}

#[test]
fn oversized_frames_are_refused_before_they_are_hashed() {
    let (mut client, mut replica) = link(MACS[0]);
    let largest = Frame::new(ClientHeader::Ping { nonce: 1 }, Bytes::from(vec![0; MAX_RESULT]));
    assert!(replica.open(&Bytes::from(client.seal(&largest))).is_ok());
    let len = MAX_CLIENT_FRAME + 1;
    let error = VerifyError::Decode(DecodeError::TooLong { len, limit: MAX_CLIENT_FRAME });
    assert_eq!(replica.open(&Bytes::from(vec![0; len])).unwrap_err(), error);
}
