//! Ordered calls: votes, full results, retransmission, refusals, outcomes.

use bytes::Bytes;

use crate::client::testing::{Net, evidence, request, value};
use crate::client::{
    CallError, CallId, ClientEvent, EndpointOptions, Outcome, Phase, SuspectReason,
};
use crate::membership::{Cid, Digest, SessionId, ViewNumber};
use crate::wire::{ExecutionResult, Operation, Refusal, ReplicaHeader, Request, encode};

fn completed(call: CallId, result: &'static [u8], who: [&[usize]; 3], cid: u64) -> ClientEvent {
    let evidence = evidence(3, who, Some(cid));
    ClientEvent::Completed { call, result: Bytes::from_static(result), evidence }
}

#[test]
fn a_quorum_of_matching_replies_completes_a_call() {
    let mut net = Net::connected();
    let call = net.invoke(b"op");
    let session = net.inbox[0][0].clone();
    let session = Request::decode(&session.body).unwrap().id.session;
    let expected = request(&net, session, 1, 1, Operation::Execute(Bytes::from_static(b"op")));
    // Number 1 asks replica 1 for the full result.
    for replica in 0..4 {
        assert_eq!(net.requests(replica), [(replica == 1, expected.clone())]);
    }
    net.reply(0, &expected, 5, &value(b"r"), false);
    net.reply(1, &expected, 5, &value(b"r"), true);
    assert_eq!(net.events(), []);
    net.reply(2, &expected, 5, &value(b"r"), false);
    assert_eq!(net.events(), [completed(call, b"r", [&[0, 1, 2], &[], &[3]], 5)]);
    // The last replica's vote comes late and still counts as evidence.
    net.reply(3, &expected, 5, &value(b"r"), false);
    let evidence = evidence(3, [&[0, 1, 2, 3], &[], &[]], Some(5));
    assert_eq!(net.events(), [ClientEvent::Votes { call, number: None, evidence }]);
}

#[test]
fn a_liar_neither_completes_a_call_nor_goes_unnoticed() {
    let mut net = Net::connected();
    let call = net.invoke(b"op");
    let request = net.request();
    // Replica 1 was asked for the full result; it lies, and consistently.
    net.reply(1, &request, 5, &value(b"lie"), true);
    net.reply(0, &request, 5, &value(b"r"), false);
    net.reply(2, &request, 5, &value(b"r"), false);
    assert_eq!(net.events(), []);
    net.reply(3, &request, 5, &value(b"r"), false);
    // The votes are there; the result itself is asked for at once, of a replica that agrees.
    assert_eq!(net.events(), []);
    assert_eq!(net.requests(0), [(true, request.clone())]);
    net.reply(0, &request, 5, &value(b"r"), true);
    assert_eq!(
        net.events(),
        [
            ClientEvent::Suspect { replica: 1, reason: SuspectReason::Divergent, call: Some(call) },
            completed(call, b"r", [&[0, 2, 3], &[1], &[]], 5),
        ]
    );
    // A suspect is no longer asked for full results: number 5 would have been its turn.
    for number in 2..=5 {
        net.invoke(b"next");
        let request = net.request();
        assert_eq!(request.id.number, number);
        for replica in [0, 2, 3] {
            net.reply(replica, &request, 4 + number, &value(b"r"), true);
        }
    }
    net.events();
    net.invoke(b"last");
    assert!(!net.requests(1)[0].0);
}

#[test]
fn a_late_lie_is_reported_once() {
    let mut net = Net::connected();
    let call = net.invoke(b"op");
    let request = net.request();
    for replica in [0, 1, 2] {
        net.reply(replica, &request, 5, &value(b"r"), true);
    }
    net.events();
    for _ in 0..3 {
        net.reply(3, &request, 5, &value(b"lie"), true);
    }
    let evidence = evidence(3, [&[0, 1, 2], &[3], &[]], Some(5));
    let reason = SuspectReason::Divergent;
    assert_eq!(
        net.events(),
        [
            ClientEvent::Votes { call, number: None, evidence },
            ClientEvent::Suspect { replica: 3, reason, call: Some(call) },
        ]
    );
    let suspect = net.endpoint.status().replicas[3].suspect;
    assert_eq!(suspect.map(|suspect| (suspect.reason, suspect.count)), Some((reason, 1)));
}

#[test]
fn a_body_that_does_not_have_its_digest_is_no_vote() {
    let mut net = Net::connected();
    let call = net.invoke(b"op");
    let request = net.request();
    let header = ReplicaHeader::Reply {
        session: request.id.session,
        number: 1,
        view: ViewNumber(0),
        cid: Cid(5),
        digest: Digest::of(&encode(&value(b"r"))),
        full: true,
    };
    net.say(1, header, &encode(&value(b"forged")));
    let reason = SuspectReason::Protocol;
    let suspect = ClientEvent::Suspect { replica: 1, reason, call: Some(call) };
    assert_eq!(net.events(), [suspect]);
    net.reply(0, &request, 5, &value(b"r"), false);
    net.reply(2, &request, 5, &value(b"r"), false);
    assert_eq!(net.events(), []);
    net.reply(3, &request, 5, &value(b"r"), true);
    assert_eq!(net.events(), [completed(call, b"r", [&[0, 2, 3], &[1], &[]], 5)]);
}

#[test]
fn a_missing_full_result_is_asked_for_elsewhere() {
    let mut net = Net::connected();
    let call = net.invoke(b"op");
    let request = net.request();
    for replica in [0, 2, 3] {
        net.reply(replica, &request, 5, &value(b"r"), false);
    }
    // Replica 1 has a moment to send it, then the others are asked, one after the other.
    assert_eq!((net.events(), net.requests(0)), (vec![], vec![]));
    net.millis(100);
    assert_eq!(net.requests(0), [(true, request.clone())]);
    assert_eq!((net.requests(2), net.requests(3)), (vec![], vec![]));
    net.millis(100);
    assert_eq!(net.requests(2), [(true, request.clone())]);
    net.reply(2, &request, 5, &value(b"r"), true);
    assert_eq!(net.events(), [completed(call, b"r", [&[0, 2, 3], &[], &[1]], 5)]);
}

#[test]
fn view_and_instance_must_match_too() {
    let mut net = Net::connected();
    let call = net.invoke(b"op");
    let request = net.request();
    net.reply(0, &request, 5, &value(b"r"), true);
    net.reply(1, &request, 6, &value(b"r"), true);
    net.reply(2, &request, 7, &value(b"r"), true);
    net.reply(3, &request, 5, &value(b"r"), true);
    assert_eq!(net.events(), []);
    // A replica's latest vote counts.
    net.reply(1, &request, 5, &value(b"r"), true);
    let divergent = SuspectReason::Divergent;
    assert_eq!(
        net.events(),
        [
            ClientEvent::Suspect { replica: 2, reason: divergent, call: Some(call) },
            completed(call, b"r", [&[0, 1, 3], &[2], &[]], 5),
        ]
    );
}

#[test]
fn one_replica_has_one_vote() {
    let mut net = Net::connected();
    net.invoke(b"op");
    let request = net.request();
    for _ in 0..5 {
        net.reply(3, &request, 5, &value(b"lie"), true);
    }
    assert_eq!(net.events(), []);
    assert_eq!(net.endpoint.status().pending, 1);
}

#[test]
fn retransmission_repeats_the_same_bytes_in_order_of_numbers() {
    let mut net = Net::connected();
    net.invoke(b"one");
    net.invoke(b"two");
    let first = net.requests(3);
    assert_eq!(first.iter().map(|(_, request)| request.id.number).collect::<Vec<_>>(), [1, 2]);
    net.lose(3);
    net.millis(200);
    net.open(3);
    assert_eq!(net.requests(3), first);
    // The timer sends to all that have not replied.
    let one = first[0].1.clone();
    net.reply(0, &one, 1, &value(b"r"), true);
    for replica in 0..4 {
        net.requests(replica);
    }
    net.millis(1000);
    assert_eq!(net.requests(0), [(false, first[1].1.clone())]);
    assert_eq!(net.requests(3), first);
}

#[test]
fn results_that_are_no_values() {
    let cases = [
        (ExecutionResult::Faulted, CallError::Faulted),
        (ExecutionResult::TooLarge, CallError::TooLarge),
        (ExecutionResult::Forgotten, CallError::Forgotten),
        (ExecutionResult::Subscribed { next: 1 }, CallError::Incompatible),
    ];
    for (result, error) in cases {
        let mut net = Net::connected();
        let call = net.invoke(b"op");
        let request = net.request();
        for replica in 0..3 {
            net.reply(replica, &request, 5, &result, true);
        }
        let evidence = evidence(3, [&[0, 1, 2], &[], &[3]], Some(5));
        let outcome = Outcome::Executed;
        assert_eq!(net.events(), [ClientEvent::Failed { call, error, outcome, evidence }]);
    }
}

#[test]
fn a_result_that_half_of_the_replicas_no_longer_keep_is_forgotten_and_accuses_nobody() {
    let mut net = Net::connected();
    let call = net.invoke(b"op");
    let request = net.request();
    net.reply(0, &request, 5, &value(b"r"), true);
    net.reply(1, &request, 5, &value(b"r"), true);
    net.reply(2, &request, 0, &ExecutionResult::Forgotten, true);
    assert_eq!(net.events(), []);
    net.reply(3, &request, 0, &ExecutionResult::Forgotten, true);
    let evidence = evidence(3, [&[2, 3], &[0, 1], &[]], Some(0));
    let (error, outcome) = (CallError::Forgotten, Outcome::Executed);
    assert_eq!(net.events(), [ClientEvent::Failed { call, error, outcome, evidence }]);
}

#[test]
fn a_replica_that_never_answers_is_suspected_of_silence_until_it_does() {
    let options = EndpointOptions { silent_after: 3, ..EndpointOptions::default() };
    let mut net = Net::new(options);
    for replica in 0..4 {
        net.open(replica);
    }
    let mut calls = Vec::new();
    for cid in 1..=4 {
        calls.push(net.invoke(b"op"));
        let request = net.request();
        for replica in [0, 1, 2] {
            net.reply(replica, &request, cid, &value(b"r"), true);
        }
        net.millis(700);
    }
    let silent = SuspectReason::Silent;
    let suspects: Vec<ClientEvent> = net
        .events()
        .into_iter()
        .filter(|event| matches!(event, ClientEvent::Suspect { .. }))
        .collect();
    let expected = ClientEvent::Suspect { replica: 3, reason: silent, call: Some(calls[3]) };
    assert_eq!(suspects, [expected]);
    net.invoke(b"op");
    let request = net.request();
    net.reply(3, &request, 5, &value(b"r"), true);
    assert_eq!(net.endpoint.status().replicas[3].suspect, None);
}

#[test]
fn a_single_replica_is_the_baseline() {
    let mut net = Net::of(crate::client::testing::view(1, 0), EndpointOptions::default());
    net.open(0);
    assert_eq!(net.endpoint.status().phase, Phase::Ready);
    net.events();
    let call = net.invoke(b"op");
    let request = net.request();
    net.reply(0, &request, 1, &value(b"r"), true);
    let evidence = evidence(1, [&[0], &[], &[]], Some(1));
    let result = Bytes::from_static(b"r");
    assert_eq!(net.events(), [ClientEvent::Completed { call, result, evidence }]);
}

#[test]
fn replies_to_nothing_are_ignored() {
    let mut net = Net::connected();
    net.invoke(b"op");
    let mut request = net.request();
    request.id.number = 77;
    net.reply(0, &request, 5, &value(b"r"), true);
    request.id.number = 1;
    request.id.session = SessionId([9; 16]);
    net.reply(0, &request, 5, &value(b"r"), true);
    net.answer(0, 1234, 5, b"r");
    let (session, number, digest) = (SessionId([9; 16]), 1, Digest::default());
    let refusal = Refusal::SessionExpired;
    for replica in 0..4 {
        let refusal = refusal.clone();
        let header = ReplicaHeader::Refused { session, number, request: digest, refusal };
        net.say(replica, header, b"");
    }
    assert_eq!(net.events(), []);
}
