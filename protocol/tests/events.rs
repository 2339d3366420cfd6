//! Events, their gaps, and queries, as a replica's clients see them (rules P and R).
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::Net;
use webbft_protocol::membership::{Cid, Digest};
use webbft_protocol::replica::{ClientFault, Parameters};
use webbft_protocol::wire::limits::MAX_ANNOUNCEMENT;
use webbft_protocol::wire::{
    ClientHeader, Frame, Operation, Refusal, ReplicaFrame, ReplicaHeader, Topic, WITHHELD,
};

fn topic() -> Topic {
    Topic::new("t").unwrap()
}

/// A client that is subscribed to `t`, and what it got for it is forgotten.
fn subscriber(net: &mut Net) -> usize {
    let client = net.client();
    let body = net.request(client, 1, Operation::Subscribe(topic()));
    let all: Vec<usize> = (0..net.replicas.len()).collect();
    net.submit(client, &body, &all);
    net.run();
    net.clients[client].received.iter_mut().for_each(Vec::clear);
    client
}

fn received(net: &mut Net, client: usize, replica: usize) -> Vec<ReplicaFrame> {
    std::mem::take(&mut net.clients[client].received[replica])
}

/// P1: a large payload comes from f + 1 replicas, others with the next event; the rest send its
/// digest.
#[test]
fn a_large_payload_comes_from_f_plus_one_replicas() {
    const PAYLOAD: &str = "publish an event whose payload has rather more than sixty-four bytes, so \
                           that its digest is shorter than itself";
    let mut net = Net::new(4, 1);
    let (reader, writer) = (subscriber(&mut net), net.client());
    let mut senders = Vec::new();
    for number in 1..=4 {
        net.invoke(writer, number, PAYLOAD);
        net.run();
        let mut full_from = Vec::new();
        for replica in 0..4 {
            let frames = received(&mut net, reader, replica);
            let [
                Frame {
                    header: ReplicaHeader::Event { number: of, full, digest, .. }, body, ..
                },
            ] = &frames[..]
            else {
                panic!("{frames:?}");
            };
            assert_eq!((*of, *digest), (number, Digest::of(&PAYLOAD.as_bytes()[8..])));
            assert_eq!(body.len(), if *full { PAYLOAD.len() - 8 } else { 0 });
            if *full {
                full_from.push(replica);
            }
        }
        senders.push(full_from);
    }
    assert_eq!(senders, [vec![1, 2], vec![2, 3], vec![0, 3], vec![0, 1]]);
}

/// P3: who wants events that are no longer kept is told where they begin again, be it one that is
/// missing.
#[test]
fn a_gap_is_told() {
    let mut parameters = Parameters::default();
    parameters.execution.ring = 1;
    let mut net = Net::with(4, 1, parameters);
    let (reader, writer) = (subscriber(&mut net), net.client());
    net.invoke(writer, 1, "publish one");
    net.invoke(writer, 2, "publish two");
    net.run();
    received(&mut net, reader, 1);
    let session = net.clients[reader].session;
    let headers = |net: &mut Net, next| -> Vec<(Option<u64>, Option<u64>)> {
        net.send(reader, 1, &Frame::bare(ClientHeader::Resume { session, topic: topic(), next }))
            .unwrap();
        net.run();
        received(net, reader, 1)
            .iter()
            .map(|frame| match frame.header {
                ReplicaHeader::Gap { first, .. } => (Some(first), None),
                ReplicaHeader::Event { number, .. } => (None, Some(number)),
                _ => (None, None),
            })
            .collect()
    };
    assert_eq!(headers(&mut net, 1), [(Some(2), None), (None, Some(2))]);
    assert_eq!(headers(&mut net, 2), [(None, Some(2))]);
    assert_eq!(headers(&mut net, 3), []);
    assert_eq!(headers(&mut net, u64::MAX), []);
}

/// P4: a pong is followed by the numbers of the topics' last events.
#[test]
fn a_pong_carries_the_heads() {
    let mut net = Net::new(4, 1);
    let (reader, writer) = (subscriber(&mut net), net.client());
    net.invoke(writer, 1, "publish one");
    net.run();
    received(&mut net, reader, 2);
    net.send(reader, 2, &Frame::bare(ClientHeader::Ping { nonce: 5 })).unwrap();
    net.run();
    let session = net.clients[reader].session;
    let [pong, heads] = &received(&mut net, reader, 2)[..] else { panic!("two frames") };
    assert!(matches!(pong.header, ReplicaHeader::Pong { nonce: 5, last_cid: Cid(2), .. }));
    assert_eq!(heads.header, ReplicaHeader::Heads { session, heads: vec![(topic(), 1)] });
}

/// P6: who may not see an event is told its number and nothing else, whenever and however it asks.
#[test]
fn an_event_is_withheld_from_who_may_not_see_it() {
    let mut net = Net::new(4, 1);
    let (friend, stranger) = (subscriber(&mut net), subscriber(&mut net));
    let writer = net.client();
    let payload =
        Bytes::from(format!("for {}: {}", net.id(friend, 1).client, "secret ".repeat(20)));
    net.invoke_bytes(writer, 1, [b"publish ", &payload[..]].concat().into());
    net.run();
    let seen = |net: &mut Net, client: usize| -> Vec<(u64, Digest, bool, Bytes)> {
        let frames = received(net, client, 1);
        frames
            .into_iter()
            .map(|Frame { header, body, .. }| match header {
                ReplicaHeader::Event { number, digest, full, .. } => (number, digest, full, body),
                other => panic!("{other:?}"),
            })
            .collect()
    };
    let digest = Digest::of(&payload);
    assert_eq!(seen(&mut net, friend), [(1, digest, true, payload.clone())]);
    assert_eq!(seen(&mut net, stranger), [(1, WITHHELD, false, Bytes::new())]);
    let session = net.clients[stranger].session;
    for header in [
        ClientHeader::Resume { session, topic: topic(), next: 1 },
        ClientHeader::FetchEvent { session, topic: topic(), number: 1 },
    ] {
        net.send(stranger, 1, &Frame::bare(header)).unwrap();
        net.run();
        assert_eq!(seen(&mut net, stranger), [(1, WITHHELD, false, Bytes::new())]);
    }
}

/// P5: an announcement reaches the topic's other subscribers, in the name of its sender, and nobody
/// else; only a subscriber may announce.
#[test]
fn announcements_reach_the_other_subscribers() {
    let mut net = Net::new(4, 1);
    let (sender, reader) = (subscriber(&mut net), subscriber(&mut net));
    let stranger = net.client();
    net.invoke(stranger, 1, "a");
    net.run();
    let everyone = [sender, reader, stranger];
    for client in everyone {
        received(&mut net, client, 2);
    }
    for client in [stranger, sender] {
        let session = net.clients[client].session;
        let header = ClientHeader::Announce { session, topic: topic(), number: 7 };
        net.send(client, 2, &Frame::new(header, Bytes::from_static(b"here"))).unwrap();
    }
    net.run();
    let header = ReplicaHeader::Announcement {
        session: net.clients[reader].session,
        topic: topic(),
        sender: net.id(sender, 1).session_key(),
        number: 7,
    };
    let got = everyone.map(|client| received(&mut net, client, 2));
    assert_eq!(got, [vec![], vec![Frame::new(header, Bytes::from_static(b"here"))], vec![]]);
}

/// P5: what one client may make a replica send to all subscribers is limited.
#[test]
fn announcements_are_limited() {
    let mut net = Net::new(4, 1);
    let (sender, reader) = (subscriber(&mut net), subscriber(&mut net));
    let announce = |net: &mut Net, numbers: std::ops::RangeInclusive<u64>| {
        for number in numbers {
            let session = net.clients[sender].session;
            let header = ClientHeader::Announce { session, topic: topic(), number };
            net.send(sender, 1, &Frame::bare(header)).unwrap();
        }
        net.run();
        received(net, reader, 1).len()
    };
    assert_eq!(announce(&mut net, 1..=150), 100);
    net.wait_ms(1000);
    assert_eq!(announce(&mut net, 151..=300), 50);
    let session = net.clients[sender].session;
    let header = ClientHeader::Announce { session, topic: topic(), number: 301 };
    let frame = Frame::new(header, Bytes::from(vec![0; MAX_ANNOUNCEMENT + 1]));
    let fault = ClientFault::AnnouncementTooLong(MAX_ANNOUNCEMENT + 1);
    assert_eq!(net.send(sender, 1, &frame), Err(fault));
}

/// R2: an answer is dated with the last instance that could have changed it, as the service says.
#[test]
fn an_answer_is_dated_by_the_service() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    net.invoke(client, 1, "a");
    net.run();
    // An instance that the log knows nothing of.
    let body = net.request(client, 2, Operation::Subscribe(topic()));
    net.submit(client, &body, &[0, 1, 2, 3]);
    net.run();
    received(&mut net, client, 1);
    let query = ClientHeader::Query { nonce: 1, min_cid: Cid(0), full: true };
    net.send(client, 1, &Frame::bare(query)).unwrap();
    net.run();
    let body = Bytes::from_static(b"1");
    let header = ReplicaHeader::QueryReply {
        nonce: 1,
        view: net.view.number,
        as_of: Cid(1),
        executed: Cid(2),
        digest: Digest::of(&body),
        full: true,
    };
    assert_eq!(received(&mut net, client, 1), [Frame::new(header, body)]);
}

/// R3: a waiting query is answered when the replica has executed what it must see, and no sooner.
#[test]
fn a_query_is_not_answered_too_early() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    let query = ClientHeader::Query { nonce: 1, min_cid: Cid(2), full: true };
    net.send(client, 1, &Frame::bare(query)).unwrap();
    for number in 1..=2 {
        let answers: Vec<_> = received(&mut net, client, 1)
            .into_iter()
            .filter(|frame| matches!(frame.header, ReplicaHeader::QueryReply { .. }))
            .collect();
        assert_eq!(answers, [], "before instance {number}");
        net.invoke(client, number, "a");
        net.run();
    }
    let answered = |frame: &ReplicaFrame| {
        matches!(frame.header, ReplicaHeader::QueryReply { executed: Cid(2), .. })
    };
    assert!(received(&mut net, client, 1).iter().any(answered));
}

/// Queries that wait are held in memory: a link may have 64 of them.
#[test]
fn queries_that_wait_are_limited() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    for nonce in 1..=65 {
        let query = ClientHeader::Query { nonce, min_cid: Cid(u64::MAX), full: false };
        net.send(client, 1, &Frame::bare(query)).unwrap();
    }
    net.run();
    let refusal = ReplicaHeader::QueryRefused { nonce: 65, refusal: Refusal::Queries };
    assert_eq!(received(&mut net, client, 1), [Frame::bare(refusal)]);
}
