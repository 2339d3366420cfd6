//! Fast reads and what they fall back to.

use bytes::Bytes;

use crate::client::testing::{Net, evidence, value};
use crate::client::{CallError, CallId, ClientEvent, Outcome, SuspectReason};
use crate::membership::{Cid, Digest, ViewNumber};
use crate::wire::{ClientHeader, Operation, Refusal, ReplicaHeader, Request};

fn completed(call: CallId, result: &'static [u8], who: [&[usize]; 3], cid: u64) -> ClientEvent {
    let evidence = evidence(3, who, Some(cid));
    ClientEvent::Completed { call, result: Bytes::from_static(result), evidence }
}

/// The ordered queries that replica 0 received.
fn fallbacks(net: &mut Net) -> Vec<Request> {
    let frames = std::mem::take(&mut net.inbox[0]);
    let requests = frames.into_iter().filter_map(|frame| match frame.header {
        ClientHeader::Request { .. } => Some(Request::decode(&frame.body).unwrap()),
        _ => None,
    });
    requests.collect()
}

#[test]
fn a_quorum_that_agrees_on_result_and_instance_answers() {
    let mut net = Net::connected();
    let call = net.query(b"q");
    for replica in 0..4 {
        let (nonce, min_cid, full) = (1, Cid(0), replica == 1);
        assert_eq!(net.headers(replica), [ClientHeader::Query { nonce, min_cid, full }]);
    }
    net.answer(0, 1, 3, b"x");
    net.answer(1, 1, 3, b"x");
    assert_eq!(net.events(), []);
    net.answer(2, 1, 3, b"x");
    assert_eq!(net.events(), [completed(call, b"x", [&[0, 1, 2], &[], &[3]], 3)]);
    // The same instance and another result: that replica lies.
    net.answer(3, 1, 3, b"y");
    let evidence = evidence(3, [&[0, 1, 2], &[3], &[]], Some(3));
    let reason = SuspectReason::Divergent;
    assert_eq!(
        net.events(),
        [
            ClientEvent::Votes { call, number: None, evidence },
            ClientEvent::Suspect { replica: 3, reason, call: Some(call) },
        ]
    );
}

#[test]
fn a_value_that_went_1_2_1_is_not_assembled_from_different_points() {
    let mut net = Net::connected();
    let call = net.query(b"q");
    // The same value at every replica, as of the first or the third write.
    net.answer(0, 1, 1, b"1");
    net.answer(1, 1, 1, b"1");
    net.answer(2, 1, 3, b"1");
    assert_eq!(net.events(), []);
    net.headers(0);
    net.answer(3, 1, 3, b"1");
    // No quorum can come about: it is asked in order, under the same call.
    let [request] = fallbacks(&mut net).try_into().unwrap();
    assert_eq!(request.operation, Operation::Query(Bytes::from_static(b"q")));
    assert_eq!(request.id.number, 1);
    for replica in [0, 1, 2] {
        net.reply(replica, &request, 4, &value(b"1"), true);
    }
    // Nobody is accused: those behind are behind.
    assert_eq!(net.events(), [completed(call, b"1", [&[0, 1, 2], &[], &[3]], 4)]);
}

#[test]
fn only_what_a_quorum_confirmed_raises_min_cid() {
    let mut net = Net::connected();
    net.query(b"q");
    // A single replica claims a distant instance; every answer claims to have executed up to the
    // end of time.
    net.answer(3, 1, u64::MAX, b"x");
    for replica in [0, 1, 2] {
        net.answer(replica, 1, 7, b"x");
    }
    net.headers(0);
    net.query(b"q");
    let min = |cid| ClientHeader::Query { nonce: 0, min_cid: Cid(cid), full: false };
    let seen = |net: &mut Net| match net.headers(0).pop() {
        Some(ClientHeader::Query { min_cid, .. }) => {
            ClientHeader::Query { nonce: 0, min_cid, full: false }
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(seen(&mut net), min(7));
    for replica in 0..4 {
        net.headers(replica);
    }
    net.invoke(b"op");
    let request = net.request();
    for replica in [0, 1, 2] {
        net.reply(replica, &request, 9, &value(b"r"), true);
    }
    net.query(b"q");
    assert_eq!(seen(&mut net), min(9));
}

#[test]
fn silence_and_refusals_lead_to_the_total_order() {
    let mut net = Net::connected();
    net.query(b"q");
    net.answer(0, 1, 1, b"1");
    net.answer(1, 1, 1, b"1");
    net.millis(199);
    assert_eq!(fallbacks(&mut net), []);
    net.millis(1);
    assert_eq!(fallbacks(&mut net).len(), 1);

    net.query(b"q");
    net.say(0, ReplicaHeader::QueryRefused { nonce: 2, refusal: Refusal::Queries }, b"");
    assert_eq!(fallbacks(&mut net).len(), 0);
    net.say(1, ReplicaHeader::QueryRefused { nonce: 2, refusal: Refusal::Queries }, b"");
    assert_eq!(fallbacks(&mut net).len(), 1);
}

#[test]
fn a_read_waits_for_links_and_reaches_new_ones() {
    let mut net = Net::new(crate::client::EndpointOptions::default());
    net.open(0);
    net.open(1);
    let call = net.query(b"q");
    net.millis(1_000);
    assert_eq!(fallbacks(&mut net), []);
    net.open(2);
    net.events();
    for replica in [0, 1, 2] {
        net.answer(replica, 1, 1, b"x");
    }
    assert_eq!(net.events(), [completed(call, b"x", [&[0, 1, 2], &[], &[3]], 1)]);
}

#[test]
fn a_lost_replica_is_not_waited_for() {
    let mut net = Net::connected();
    net.query(b"q");
    net.answer(0, 1, 1, b"1");
    net.answer(1, 1, 2, b"2");
    net.answer(2, 1, 2, b"2");
    assert_eq!(fallbacks(&mut net), []);
    net.lose(3);
    assert_eq!(fallbacks(&mut net).len(), 1);
}

#[test]
fn a_missing_body_is_asked_for_and_then_given_up() {
    let mut net = Net::connected();
    let call = net.query(b"q");
    let digest = Digest::of(b"large");
    let bare = |full| ReplicaHeader::QueryReply {
        nonce: 1,
        view: ViewNumber(0),
        as_of: Cid(2),
        executed: Cid(2),
        digest,
        full,
    };
    for replica in [0, 2, 3] {
        net.say(replica, bare(false), b"");
    }
    net.headers(0);
    net.millis(100);
    let again = ClientHeader::Query { nonce: 1, min_cid: Cid(0), full: true };
    assert_eq!(net.headers(0), [again]);
    net.say(0, bare(true), b"large");
    assert_eq!(net.events(), [completed(call, b"large", [&[0, 2, 3], &[], &[1]], 2)]);

    net.query(b"q");
    for replica in [0, 1, 3] {
        let header = ReplicaHeader::QueryReply {
            nonce: 2,
            view: ViewNumber(0),
            as_of: Cid(2),
            executed: Cid(2),
            digest,
            full: false,
        };
        net.say(replica, header, b"");
    }
    net.millis(200);
    assert_eq!(fallbacks(&mut net).len(), 1);
}

#[test]
fn a_read_without_an_answer_times_out() {
    let mut net = Net::connected();
    let call = net.query(b"q");
    net.millis(10_000);
    let evidence = evidence(3, [&[], &[], &[0, 1, 2, 3]], None);
    let (error, outcome) = (CallError::Timeout, Outcome::Unknown);
    assert_eq!(net.events(), [ClientEvent::Failed { call, error, outcome, evidence }]);
}
