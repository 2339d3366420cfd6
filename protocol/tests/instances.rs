//! Consensus instances (rules N1 to N6) and execution at whole replicas.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::{Net, REQUEST_TIMEOUT, START};
use webbft_protocol::membership::{Cid, Epoch, Regency};
use webbft_protocol::ordering::ProposalFault;
use webbft_protocol::replica::{Notice, PeerFault, Suspicion};
use webbft_protocol::time::UnixMicros;
use webbft_protocol::wire::{
    Batch, BatchEntry, ClientHeader, ExecutionResult, Frame, Operation, PeerMessage, ReplicaHeader,
    Request, Topic, encode,
};

fn value(text: &str) -> Bytes {
    encode(&ExecutionResult::Value(Bytes::copy_from_slice(text.as_bytes()))).into()
}

#[test]
fn all_replicas_execute_and_reply_alike() {
    for (n, f) in [(1, 0), (4, 1), (7, 2)] {
        let mut net = Net::new(n, f);
        let client = net.client();
        for (number, payload) in [(1, "a"), (2, "b"), (3, "c")] {
            net.invoke(client, number, payload);
        }
        net.run();
        assert_eq!(net.logs(), vec![vec!["a", "b", "c"]; n]);
        let replies = net.replies(client, 0);
        assert_eq!(
            replies.iter().map(|(number, _, body)| (*number, body.clone())).collect::<Vec<_>>(),
            [(1, value("1")), (2, value("2")), (3, value("3"))]
        );
        for replica in 1..n {
            assert_eq!(net.replies(client, replica), replies);
        }
    }
}

/// Exactly once: a retransmitted request is answered from the cache, from the same instance.
#[test]
fn a_retransmission_is_not_executed_again() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    let body = net.request(client, 1, Net::execute("once"));
    net.submit(client, &body, &[0, 1, 2, 3]);
    net.run();
    net.submit(client, &body, &[0, 1, 2, 3]);
    net.run();
    assert_eq!(net.logs(), vec![vec!["once"]; 4]);
    assert_eq!(net.replies(client, 2), [(1, Cid(1), value("1")), (1, Cid(1), value("1"))]);
}

/// A panicking operation is answered and leaves no trace.
#[test]
#[cfg_attr(target_family = "wasm", ignore = "a panic ends a Wasm program")]
fn a_panic_is_undone() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    net.invoke(client, 1, "a");
    net.invoke(client, 2, "panic");
    net.invoke(client, 3, "b");
    net.run();
    assert_eq!(net.logs(), vec![vec!["a", "b"]; 4]);
    let bodies: Vec<Bytes> = net.replies(client, 1).into_iter().map(|(_, _, body)| body).collect();
    assert_eq!(bodies, [value("1"), encode(&ExecutionResult::Faulted).into(), value("2")]);
}

/// N2, N5: replicas 1 and 2 decide with the ACCEPT of a liar, whose signature is worth nothing, and
/// nobody else has heard anything. Neither has a certificate, and yet replica 3 must catch up.
#[test]
fn a_bad_signature_among_the_accepts_keeps_nobody_behind() {
    let mut net = Net::new(4, 1);
    net.isolate(3);
    let client = net.client();
    let body = net.request(client, 1, Net::execute("once"));
    // The leader is the liar: what it says is injected.
    net.isolate(0);
    net.submit(client, &body, &[1, 2]);
    net.run();
    let (cid, epoch) = (Cid(1), Epoch(1));
    let entry = BatchEntry { id: net.id(client, 1), digest: Request::digest(&body) };
    let batch = Batch { time: UnixMicros(START), entries: vec![entry] };
    let hash = batch.hash(net.view.service, net.view.number, cid);
    for to in [1, 2] {
        let signature = Bytes::from_static(&[7; 64]);
        net.inject_proposal(0, to, cid, epoch, batch.clone());
        net.inject(0, to, PeerMessage::Write { cid, epoch, hash });
        net.inject(0, to, PeerMessage::Accept { cid, epoch, hash, signature });
    }
    net.run();
    assert_eq!(net.logs(), [vec![], vec!["once"], vec!["once"], vec![]]);
    net.connect(1, 3);
    net.connect(2, 3);
    net.wait_ms(2000);
    assert_eq!(net.logs(), [vec![], vec!["once"], vec!["once"], vec!["once"]]);
}

/// N2, N3: with one replica away the others decide; N5: when it is back it catches up, with
/// decisions certified by signatures.
#[test]
fn a_replica_that_was_away_catches_up() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    net.isolate(3);
    for (number, payload) in [(1, "a"), (2, "b"), (3, "c")] {
        net.invoke(client, number, payload);
        net.run();
    }
    assert_eq!(net.logs()[3], [] as [&str; 0]);
    net.rejoin(3);
    net.wait_ms(1000);
    assert_eq!(net.logs(), vec![vec!["a", "b", "c"]; 4]);
    assert_eq!(net.replicas[3].status().last_cid, net.replicas[0].status().last_cid);
}

/// N5: messages about instances too far ahead are not kept. Once the replica has caught up it asks
/// for what was said about the open one, where its vote is needed.
#[test]
fn a_replica_that_was_far_behind_takes_part_in_the_open_instance() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    net.isolate(3);
    for number in 1..=20 {
        net.invoke(client, number, "x");
        net.run();
    }
    net.isolate(2);
    net.invoke(client, 21, "last");
    net.run();
    assert_eq!(net.replicas[0].status().last_cid, Cid(20));
    // It vouches for number 21 at once, so that the leader proposes before it has caught up.
    net.connect(3, 0);
    net.connect(3, 1);
    net.wait_ms(2000);
    for replica in [0, 1, 3] {
        assert_eq!(net.logs()[replica].last(), Some(&"last"), "replica {replica}");
    }
}

/// N5: a replica that the leader leaves out is answered although the system is quiet.
#[test]
fn a_replica_that_is_left_out_fetches_the_decision() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    net.disconnect(0, 3);
    net.invoke(client, 1, "a");
    net.wait_ms(1000);
    assert_eq!(net.logs(), vec![vec!["a"]; 4]);
}

/// N6: a WRITE waits until the proposed time is no more than the drift ahead of the clock.
#[test]
fn a_time_in_the_future_is_withheld() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    let body = net.request(client, 1, Net::execute("x"));
    net.disconnect(0, 1);
    net.disconnect(0, 2);
    net.disconnect(0, 3);
    net.submit(client, &body, &[1, 2, 3]);
    net.run();
    let entry = BatchEntry { id: net.id(client, 1), digest: Request::digest(&body) };
    let batch = Batch { time: UnixMicros(START + 6_500_000), entries: vec![entry] };
    for to in 1..4 {
        let batch = batch.clone();
        net.inject_proposal(0, to, Cid(1), Epoch(1), batch);
    }
    net.wait_ms(1400);
    assert_eq!(net.logs()[1], [] as [&str; 0]);
    net.wait_ms(200);
    assert_eq!(net.logs()[1..], vec![vec!["x"]; 3]);
    assert_eq!(net.replicas[1].status().time, UnixMicros(START + 6_500_000));
}

/// S8: nobody waits for the empty batch of a leader whose clock is far ahead; it costs the leader its
/// place all the same, or learners could wait for ever.
#[test]
fn a_leader_far_ahead_of_the_clocks_is_replaced() {
    let mut net = Net::new(4, 1);
    for to in 1..4 {
        let batch = Batch { time: UnixMicros(START + 5_000_000_000), entries: vec![] };
        net.inject_proposal(0, to, Cid(1), Epoch(1), batch);
    }
    let timeout = u64::try_from(REQUEST_TIMEOUT.as_millis()).unwrap();
    net.wait_ms(timeout - 1);
    assert_eq!(net.suspicions(), 0);
    net.wait_ms(100);
    let suspected = Notice::LeaderSuspected { leader: 0, cause: Suspicion::AheadOfClock };
    let installed = Notice::RegencyInstalled { regency: Regency(1), leader: 1 };
    for notices in &net.notices[1..] {
        assert_eq!(notices[..2], [suspected.clone(), installed.clone()]);
    }
    let client = net.client();
    net.invoke(client, 1, "x");
    net.wait_ms(100);
    assert_eq!(net.logs(), vec![vec!["x"]; 4]);
}

/// Two proposals for one instance prove the leader wrong; the first stays.
#[test]
fn an_equivocating_leader_is_caught() {
    let mut net = Net::new(4, 1);
    for micros in [1, 2] {
        let batch = Batch { time: UnixMicros(START + micros), entries: vec![] };
        net.inject_proposal(0, 1, Cid(1), Epoch(1), batch);
    }
    net.run();
    let fault = PeerFault::Consensus(ProposalFault::TwoProposals);
    let regency = Regency(1);
    // Its own two signatures convince the others at once (rule S9).
    for (replica, notices) in net.notices.iter().enumerate().skip(1) {
        let caught = Notice::PeerMisbehaved { peer: 0, fault };
        assert_eq!(notices.contains(&caught), replica == 1, "replica {replica}");
        let installed = Notice::RegencyInstalled { regency, leader: 1 };
        assert!(notices.contains(&installed), "replica {replica}: {notices:?}");
        assert!(notices.contains(&Notice::Synchronised { regency }), "replica {replica}");
    }
}

/// A5: a silent leader is suspected, once a time-out.
#[test]
fn a_silent_leader_is_suspected() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    net.isolate(0);
    net.invoke(client, 1, "x");
    net.wait_ms(1900);
    assert_eq!(net.suspicions(), 0);
    net.wait_ms(200);
    assert_eq!(net.suspicions(), 3);
}

/// Events are numbered, go to subscribers, and can be resumed; a gap is said.
#[test]
fn events_and_resumption() {
    let mut net = Net::new(4, 1);
    let (reader, writer) = (net.client(), net.client());
    let topic = Topic::new("t").unwrap();
    let body = net.request(reader, 1, Operation::Subscribe(topic.clone()));
    net.submit(reader, &body, &[0, 1, 2, 3]);
    net.run();
    net.invoke(writer, 1, "publish one");
    net.invoke(writer, 2, "publish two");
    net.run();
    let events = |net: &Net, replica: usize| -> Vec<(u64, Bytes)> {
        net.clients[reader].received[replica]
            .iter()
            .filter_map(|frame| match frame.header {
                ReplicaHeader::Event { number, .. } => Some((number, frame.body.clone())),
                _ => None,
            })
            .collect()
    };
    let both = [(1, Bytes::from_static(b"one")), (2, Bytes::from_static(b"two"))];
    for replica in 0..4 {
        assert_eq!(events(&net, replica), both);
    }
    net.clients[reader].received[1].clear();
    let session = net.clients[reader].session;
    let resume = ClientHeader::Resume { session, topic, next: 2 };
    net.send(reader, 1, &Frame::bare(resume)).unwrap();
    net.run();
    assert_eq!(events(&net, 1), both[1..]);
}

/// R3: a query waits until the replica has executed what it must see.
#[test]
fn a_query_waits_for_its_instance() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    let query = ClientHeader::Query { nonce: 7, min_cid: Cid(1), full: true };
    net.send(client, 1, &Frame::bare(query)).unwrap();
    net.run();
    assert_eq!(net.clients[client].received[1], []);
    net.invoke(client, 1, "a");
    net.run();
    let answers: Vec<_> = net.clients[client].received[1]
        .iter()
        .filter(|frame| matches!(frame.header, ReplicaHeader::QueryReply { .. }))
        .map(|frame| (frame.header.clone(), frame.body.clone()))
        .collect();
    let body = Bytes::from_static(b"1");
    let header = ReplicaHeader::QueryReply {
        nonce: 7,
        view: net.view.number,
        as_of: Cid(1),
        executed: Cid(1),
        digest: webbft_protocol::membership::Digest::of(&body),
        full: true,
    };
    assert_eq!(answers, [(header, body)]);
}
