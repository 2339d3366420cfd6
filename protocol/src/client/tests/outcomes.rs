//! What is known of a call that failed.

use std::time::Duration;

use bytes::Bytes;

use crate::client::testing::{Net, evidence, value};
use crate::client::{CallError, CallId, ClientEvent, EndpointOptions, InvokeError, Outcome, Phase};
use crate::wire::limits::{MAX_PAYLOAD, SESSION_WINDOW};

fn failed(call: CallId, error: CallError, outcome: Outcome, who: [&[usize]; 3]) -> ClientEvent {
    ClientEvent::Failed { call, error, outcome, evidence: evidence(3, who, None) }
}

const ALL_SILENT: [&[usize]; 3] = [&[], &[], &[0, 1, 2, 3]];

#[test]
fn with_too_few_links_a_call_is_not_sent_and_fails_so() {
    let mut net = Net::new(EndpointOptions::default());
    net.open(0);
    net.open(1);
    net.events();
    let call = net.invoke(b"op");
    assert_eq!((net.requests(0), net.requests(1)), (vec![], vec![]));
    net.millis(9_999);
    assert_eq!(net.events(), []);
    net.millis(1);
    assert_eq!(net.events(), [failed(call, CallError::NoQuorum, Outcome::NotSent, ALL_SILENT)]);
    assert_eq!(net.endpoint.status().pending, 0);
}

#[test]
fn f_plus_one_down_and_back() {
    let mut net = Net::connected();
    net.lose(2);
    assert_eq!(net.endpoint.status().phase, Phase::Degraded);
    net.lose(3);
    assert_eq!(net.endpoint.status().phase, Phase::Offline);
    let call = net.invoke(b"op");
    net.millis(1_000);
    net.open(3);
    net.events();
    let request = net.request();
    for replica in [0, 1, 3] {
        net.reply(replica, &request, 1, &value(b"r"), true);
    }
    let evidence = evidence(3, [&[0, 1, 3], &[], &[2]], Some(1));
    let result = Bytes::from_static(b"r");
    assert_eq!(net.events(), [ClientEvent::Completed { call, result, evidence }]);
}

#[test]
fn a_sent_call_without_a_quorum_of_answers_may_have_been_executed() {
    let mut net = Net::connected();
    let call = net.invoke(b"op");
    let request = net.request();
    net.reply(0, &request, 1, &value(b"r"), true);
    net.pass(Duration::from_secs(10));
    let who: [&[usize]; 3] = [&[0], &[], &[1, 2, 3]];
    assert_eq!(net.events(), [failed(call, CallError::Timeout, Outcome::Unknown, who)]);
    // Its number is still in the way of later ones: it goes on being sent, and is told no more.
    net.lose(1);
    net.millis(200);
    net.headers(1);
    net.open(1);
    assert_eq!(net.requests(1), [(true, request.clone())]);
    for replica in [1, 2] {
        net.reply(replica, &request, 1, &value(b"r"), true);
    }
    assert_eq!(net.events(), []);
    net.lose(1);
    net.millis(300);
    net.open(1);
    assert_eq!(net.requests(1), []);
}

#[test]
fn a_sent_call_that_times_out_after_links_were_lost() {
    let mut net = Net::connected();
    let call = net.invoke(b"op");
    net.lose(2);
    net.lose(3);
    net.events();
    net.pass(Duration::from_secs(10));
    assert_eq!(net.events(), [failed(call, CallError::NoQuorum, Outcome::Unknown, ALL_SILENT)]);
}

#[test]
fn a_decided_call_whose_result_never_comes_was_executed() {
    let mut net = Net::connected();
    let call = net.invoke(b"op");
    let request = net.request();
    for replica in 0..3 {
        net.reply(replica, &request, 1, &value(b"r"), false);
    }
    net.pass(Duration::from_secs(10));
    let (error, outcome) = (CallError::Timeout, Outcome::Executed);
    let evidence = evidence(3, [&[0, 1, 2], &[], &[3]], Some(1));
    assert_eq!(net.events(), [ClientEvent::Failed { call, error, outcome, evidence }]);
}

#[test]
fn cancelling() {
    let mut net = Net::connected();
    let sent = net.invoke(b"op");
    let now = net.now();
    net.endpoint.cancel(now, sent);
    net.lose(2);
    net.lose(3);
    let queued = net.invoke(b"op");
    net.endpoint.cancel(now, queued);
    net.endpoint.cancel(now, queued);
    net.endpoint.cancel(now, CallId(99));
    assert_eq!(
        net.events(),
        [
            failed(sent, CallError::Cancelled, Outcome::Unknown, ALL_SILENT),
            failed(queued, CallError::Cancelled, Outcome::NotSent, ALL_SILENT),
        ]
    );
}

#[test]
fn closing_fails_what_is_pending_and_closes_links() {
    let mut net = Net::connected();
    let sent = net.invoke(b"op");
    let read = net.query(b"q");
    net.lose(2);
    let now = net.now();
    net.endpoint.close(now);
    net.drain();
    assert_eq!(
        net.events(),
        [
            failed(sent, CallError::Closed, Outcome::Unknown, ALL_SILENT),
            failed(read, CallError::Closed, Outcome::Unknown, ALL_SILENT),
        ]
    );
    assert_eq!(net.closed, [0, 1, 3]);
    let status = net.endpoint.status();
    assert_eq!((status.phase, status.connected, status.pending), (Phase::Closed, 0, 0));
    assert_eq!(net.endpoint.invoke(now, Bytes::new(), None), Err(InvokeError::Closed));
    assert_eq!(net.endpoint.next_deadline(), None);
}

#[test]
fn what_cannot_be_begun() {
    let options = EndpointOptions { max_pending: 2, ..EndpointOptions::default() };
    let mut net = Net::new(options);
    let now = net.now();
    let large = Bytes::from(vec![0; MAX_PAYLOAD + 1]);
    let error = InvokeError::PayloadTooLarge(MAX_PAYLOAD + 1);
    assert_eq!(net.endpoint.invoke(now, large.clone(), None), Err(error));
    assert_eq!(net.endpoint.query(now, large, None), Err(error));
    net.invoke(b"1");
    net.query(b"2");
    let full = Err(InvokeError::QueueFull(2));
    assert_eq!(net.endpoint.invoke(now, Bytes::new(), None), full);
    assert_eq!(net.endpoint.query(now, Bytes::new(), None), full);
}

#[test]
fn no_more_numbers_in_flight_than_the_window() {
    let mut net = Net::connected();
    for _ in 0..=SESSION_WINDOW {
        net.invoke(b"op");
    }
    let sent = net.requests(0);
    assert_eq!(sent.len(), usize::try_from(SESSION_WINDOW).unwrap());
    for replica in 0..4 {
        net.headers(replica);
    }
    for replica in 0..3 {
        net.reply(replica, &sent[0].1, 1, &value(b"r"), true);
    }
    assert_eq!(net.request().id.number, SESSION_WINDOW + 1);
}
