//! Bodies that a client has not sent to a replica, and whom that asks for them (rule A1): one replica
//! is handed messages one by one.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::{Net, START, signing_key};
use webbft_protocol::auth::sign_propose;
use webbft_protocol::membership::{Cid, Epoch};
use webbft_protocol::time::{Instant, UnixMicros};
use webbft_protocol::wire::{
    Batch, BatchEntry, PeerMessage, Request, RequestId, Vouch, VouchGroup,
};

/// The replica under test.
const ME: usize = 3;

fn entry(body: &Bytes) -> BatchEntry {
    BatchEntry { id: Request::decode(body).unwrap().id, digest: Request::digest(body) }
}

fn vouch(net: &mut Net, from: usize, body: &Bytes) {
    let BatchEntry { id, digest } = entry(body);
    let groups = VouchGroup::gather([(Vouch { id, digest }, UnixMicros(START))]);
    net.tell(from, ME, PeerMessage::Vouches { replace: false, groups });
}

/// Whom the replica asks for bodies within `ms` milliseconds, when, and for which.
fn asked(net: &mut Net, ms: u64) -> Vec<(u64, usize, Vec<RequestId>)> {
    let start = net.now.instant;
    let end = start + std::time::Duration::from_millis(ms);
    let mut asked = Vec::new();
    loop {
        for (to, message) in net.said(ME) {
            if let PeerMessage::FetchBodies(wanted) = message {
                let to: Vec<usize> = to.iter().collect();
                assert_eq!(to.len(), 1, "one at a time");
                let after = u64::try_from(net.now.instant.since(start).as_millis()).unwrap();
                asked.push((after, to[0], wanted.iter().map(|vouch| vouch.id).collect()));
            }
        }
        let due: Option<Instant> = net.replicas[ME].next_deadline().filter(|&due| due <= end);
        net.now.instant = due.unwrap_or(end).max(net.now.instant);
        if due.is_none() {
            return asked;
        }
        net.replicas[ME].handle_deadline(net.now);
    }
}

/// A client that has a link here will send the body itself; so nobody is asked for long.
#[test]
fn a_body_that_is_on_its_way_is_not_asked_for() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    net.invoke(client, 1, "x");
    net.run();
    let body = net.request(client, 2, Net::execute("y"));
    for peer in [0, 1, 2] {
        vouch(&mut net, peer, &body);
    }
    assert_eq!(asked(&mut net, 100), []);
    net.submit(client, &body, &[ME]);
    assert_eq!(asked(&mut net, 1000), []);
}

/// Of a session that has no link here nothing will come: one voucher after the other is asked.
#[test]
fn a_mute_voucher_does_not_keep_a_body_away() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    let body = net.request(client, 1, Net::execute("x"));
    for peer in [0, 1, 2] {
        vouch(&mut net, peer, &body);
    }
    let asked = asked(&mut net, 500);
    let id = entry(&body).id;
    assert!(asked.iter().all(|(.., ids)| *ids == [id]), "{asked:?}");
    assert_eq!(
        asked.iter().map(|&(after, ..)| after).collect::<Vec<_>>(),
        [30, 90, 150, 210, 270, 330, 390, 450]
    );
    let mut peers: Vec<usize> = asked[..3].iter().map(|&(_, peer, _)| peer).collect();
    peers.sort_unstable();
    assert_eq!(peers, [0, 1, 2]);
}

/// What the open proposal needs is asked for soon, and of the leader first: it has it.
#[test]
fn what_a_proposal_needs_is_asked_of_the_leader() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    net.invoke(client, 1, "x");
    net.run();
    let body = net.request(client, 2, Net::execute("y"));
    for peer in [0, 1, 2] {
        vouch(&mut net, peer, &body);
    }
    let (cid, epoch) = (Cid(2), Epoch(1));
    let time = UnixMicros(net.replicas[ME].status().time.0 + 1);
    let batch = Batch { time, entries: vec![entry(&body)] };
    let hash = batch.hash(net.view.service, net.view.number, cid);
    let signature = sign_propose(&signing_key(0), &net.view, cid, epoch, hash);
    net.tell(0, ME, PeerMessage::Propose { cid, epoch, batch, signature });
    assert_eq!(asked(&mut net, 50), [(30, 0, vec![entry(&body).id])]);
    net.tell(0, ME, PeerMessage::Body(body));
    let said = net.said(ME);
    let wrote = |message: &PeerMessage| matches!(message, PeerMessage::Write { .. });
    assert!(said.iter().any(|(_, message)| wrote(message)), "{said:?}");
}
