//! A client link among damaged, repeated, withheld and invented frames.

use bytes::Bytes;
use webbft_protocol::auth::{ClientHandshake, ServerHandshake};
use webbft_protocol::membership::{Cid, MacAlgorithm, SessionId, View};
use webbft_protocol::time::UnixMicros;
use webbft_protocol::wire::{ClientHeader, Frame, ReplicaHeader, Topic, Welcome};

use crate::choices::Choices;
use crate::group::{START, identity, noise_key, view};

/// What a link takes is the sender's next frame, unchanged, and nothing else.
pub fn link(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mac = if choices.flag() { MacAlgorithm::HmacSha1 } else { MacAlgorithm::HmacSha256 };
    let view = View { mac, ..View::clone(&view(1)) };
    let keypair = noise_key(0);
    let server = ServerHandshake { view: &view, keypair: &keypair };
    let welcome = Welcome { last_cid: Cid(choices.number(0)), time: UnixMicros(START) };
    let (handshake, hello) = ClientHandshake::begin(&view, 0, &identity(0), [1; 32]);

    let mut sent = hello.clone();
    if choices.byte().is_multiple_of(4) {
        choices.damage(&mut sent);
    }
    let accepted = server.accept(&sent, &welcome, [2; 32]);
    assert_eq!(accepted.is_ok(), sent == hello, "a damaged hello was accepted");
    let Ok(accepted) = accepted else { return };
    assert_eq!(accepted.link.client(), identity(0).id());

    let mut answer = accepted.reply.clone();
    if choices.byte().is_multiple_of(4) {
        choices.damage(&mut answer);
    }
    let finished = handshake.finish(&answer);
    assert_eq!(finished.is_ok(), answer == accepted.reply, "a damaged answer was accepted");
    let Ok((mut client, said)) = finished else { return };
    assert_eq!(said.into_inner(), welcome);

    let mut replica = accepted.link;
    let mut earlier: Vec<Bytes> = Vec::new();
    while !choices.is_over() {
        let up = choices.flag();
        let body = Bytes::from(choices.bytes(80));
        let nonce = choices.number(0);
        let (frame, honest): (_, Bytes) = if up {
            let header = match choices.byte() % 3 {
                0 => ClientHeader::Request { full: nonce.is_multiple_of(2) },
                1 => ClientHeader::Query { nonce, min_cid: Cid(nonce), full: false },
                _ => ClientHeader::Ping { nonce },
            };
            let frame = Frame::new(header, body);
            let bytes = client.seal(&frame).into();
            (Either::Up(frame), bytes)
        } else {
            let topic = Topic::new("t").expect("a topic");
            let header = ReplicaHeader::Gap { session: SessionId([3; 16]), topic, first: nonce };
            let frame = Frame::new(header, body);
            let bytes = replica.seal(&frame).into();
            (Either::Down(frame), bytes)
        };
        let arrives: Bytes = match choices.byte() % 8 {
            0 => {
                let mut bytes = honest.to_vec();
                choices.damage(&mut bytes);
                bytes.into()
            }
            1 => choices.of(&earlier).unwrap_or_default(),
            2 => choices.bytes(200).into(),
            _ => honest.clone(),
        };
        let taken = match frame {
            Either::Up(frame) => {
                replica.open(&arrives).map(|taken| assert_eq!(taken.into_inner(), frame)).is_ok()
            }
            Either::Down(frame) => {
                client.open(&arrives).map(|taken| assert_eq!(taken.into_inner(), frame)).is_ok()
            }
        };
        assert_eq!(taken, arrives == honest, "what arrived is not what was sent, or was refused");
        if !taken {
            // The link is closed.
            return;
        }
        earlier.push(honest);
    }
}

enum Either {
    Up(webbft_protocol::wire::ClientFrame),
    Down(webbft_protocol::wire::ReplicaFrame),
}
