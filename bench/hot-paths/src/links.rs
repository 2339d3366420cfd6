//! The two ends of a client's link, without a replica behind it.

use std::hint::black_box;

use anyhow::Context as _;
use bytes::Bytes;
use webbft_protocol::auth::{
    ClientHandshake, ClientIdentity, ClientLink, ReplicaLink, ServerHandshake,
};
use webbft_protocol::membership::{Cid, Digest, SessionId, View};
use webbft_protocol::time::UnixMicros;
use webbft_protocol::wire::{
    ClientHeader, Frame, Operation, ReplicaHeader, Request, RequestId, Welcome,
};

use crate::hall::{keypair, view};

fn link(view: &View) -> anyhow::Result<(ClientLink, ReplicaLink)> {
    let identity = ClientIdentity::from_secret([1; 32]);
    let (handshake, hello) = ClientHandshake::begin(view, 0, &identity, [2; 32]);
    let keypair = keypair(0);
    let welcome = Welcome { last_cid: Cid::ZERO, time: UnixMicros(1) };
    let accepted = ServerHandshake { view, keypair: &keypair }
        .accept(&hello, &welcome, [3; 32])
        .map_err(|(error, _)| error)?;
    let (client, _) = handshake.finish(&accepted.reply)?;
    Ok((client, accepted.link))
}

/// Seals, opens and decodes `count` requests of `size` bytes, and a reply of as many to each.
///
/// # Errors
/// Where one end does not understand the other: a defect.
pub fn exchange(size: usize, count: u64) -> anyhow::Result<()> {
    let view = view();
    let (mut client, mut replica) = link(&view)?;
    let id = ClientIdentity::from_secret([1; 32]).id();
    let payload = Bytes::from(vec![7; size]);
    for number in 1..=count {
        let request = Request {
            service: view.service,
            id: RequestId { client: id, session: SessionId([5; 16]), number },
            born: UnixMicros(1),
            operation: Operation::Execute(payload.clone()),
        };
        let frame = Frame::new(ClientHeader::Request { full: false }, request.encode());
        let frame = replica.open(&client.seal(&frame).into()).context("a request")?.into_inner();
        black_box(Request::decode(&frame.body)?);
        let header = ReplicaHeader::Reply {
            session: SessionId([5; 16]),
            number,
            view: view.number,
            cid: Cid(number),
            digest: Digest::of(&payload),
            full: true,
        };
        let frame = replica.seal(&Frame::new(header, payload.clone()));
        black_box(client.open(&frame.into()).context("a reply")?);
    }
    Ok(())
}
