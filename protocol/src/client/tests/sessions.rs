//! Birth, refusals and expiry of sessions.

use bytes::Bytes;

use crate::client::testing::{Net, evidence, value};
use crate::client::{CallError, CallId, ClientEvent, EndpointOptions, Outcome};
use crate::membership::{Cid, ReplicaId};
use crate::time::UnixMicros;
use crate::wire::{ExecutionResult, Operation, Refusal, ReplicaHeader, Request, Topic};

fn refuse(net: &mut Net, replica: usize, request: &Request, refusal: Refusal) {
    let header = ReplicaHeader::Refused {
        session: request.id.session,
        number: request.id.number,
        request: Request::digest(&request.encode()),
        refusal,
    };
    net.say(replica, header, b"");
}

fn pong(net: &mut Net, replica: usize, time: u64) {
    let (nonce, last_cid, leader) = (0, Cid(0), ReplicaId(0));
    net.say(replica, ReplicaHeader::Pong { nonce, last_cid, time: UnixMicros(time), leader }, b"");
}

fn failed(call: CallId, error: CallError, outcome: Outcome, who: [&[usize]; 3]) -> ClientEvent {
    ClientEvent::Failed { call, error, outcome, evidence: evidence(3, who, None) }
}

#[test]
fn a_session_is_born_between_the_times_of_correct_replicas() {
    let mut net = Net::new(EndpointOptions::default());
    net.times = vec![500, u64::MAX, 600, 0];
    net.open(1);
    net.open(0);
    net.invoke(b"op");
    assert_eq!(net.requests(0), []);
    net.open(2);
    // 500, 600 and a lie: the second smallest, and a moment.
    let request = net.request();
    assert_eq!((request.id.number, request.born), (1, UnixMicros(601)));
    // Later numbers carry no birth time.
    net.invoke(b"op");
    let request = net.request();
    assert_eq!((request.id.number, request.born), (2, UnixMicros(601)));
}

#[test]
fn an_operation_that_the_service_refuses_gives_its_number_to_the_next() {
    let mut net = Net::connected();
    let call = net.invoke(b"bad");
    let request = net.request();
    let refusal = Refusal::Service("no such operation".to_owned());
    refuse(&mut net, 0, &request, refusal.clone());
    refuse(&mut net, 0, &request, refusal.clone());
    // Another reason, or another request under the number, does not count.
    refuse(&mut net, 2, &request, Refusal::Window);
    let other = Request { operation: Operation::Query(Bytes::new()), ..request.clone() };
    refuse(&mut net, 3, &other, refusal.clone());
    assert_eq!(net.events(), []);
    refuse(&mut net, 1, &request, refusal.clone());
    let who: [&[usize]; 3] = [&[0, 1], &[2], &[3]];
    let error = CallError::Refused(refusal);
    assert_eq!(net.events(), [failed(call, error, Outcome::NotExecuted, who)]);
    net.invoke(b"good");
    assert_eq!(net.request().id.number, 1);
}

#[test]
fn a_refused_number_that_others_wait_behind_is_filled() {
    let mut net = Net::connected();
    net.invoke(b"bad");
    let bad = net.request();
    net.invoke(b"good");
    net.request();
    for replica in [0, 1] {
        refuse(&mut net, replica, &bad, Refusal::Service("bad".to_owned()));
    }
    let filler = net.request();
    let nothing = Operation::Unsubscribe(Topic::new("webbft/none").unwrap());
    assert_eq!((filler.id.number, filler.born, filler.operation), (1, bad.born, nothing));
    net.events();
    let filler = Request {
        id: bad.id,
        operation: Operation::Unsubscribe(Topic::new("webbft/none").unwrap()),
        ..bad
    };
    for replica in 0..3 {
        net.reply(replica, &filler, 1, &ExecutionResult::Unsubscribed, true);
    }
    assert_eq!(net.events(), []);
}

#[test]
fn what_is_refused_for_now_is_tried_until_time_is_up() {
    let mut net = Net::connected();
    let call = net.invoke(b"op");
    let request = net.request();
    for replica in 0..4 {
        refuse(&mut net, replica, &request, Refusal::BornInFuture);
    }
    assert_eq!(net.events(), []);
    net.millis(1000);
    assert_eq!(net.requests(2), [(false, request)]);
    net.millis(9000);
    let error = CallError::Refused(Refusal::BornInFuture);
    let who: [&[usize]; 3] = [&[0, 1, 2, 3], &[], &[]];
    assert_eq!(net.events(), [failed(call, error, Outcome::Unknown, who)]);
}

#[test]
fn too_many_sessions_is_told_at_once() {
    let mut net = Net::connected();
    let call = net.invoke(b"op");
    let request = net.request();
    refuse(&mut net, 1, &request, Refusal::Sessions);
    refuse(&mut net, 2, &request, Refusal::Sessions);
    let error = CallError::Refused(Refusal::Sessions);
    let who: [&[usize]; 3] = [&[1, 2], &[], &[0, 3]];
    assert_eq!(net.events(), [failed(call, error, Outcome::Unknown, who)]);
}

#[test]
fn an_expired_session_fails_what_may_have_been_executed_and_moves_the_rest() {
    let mut net = Net::connected();
    let first = net.invoke(b"one");
    let second = net.invoke(b"two");
    let old = net.requests(0)[0].1.clone();
    // A read that has fallen back has no effect: it moves.
    let read = net.query(b"q");
    net.millis(200);
    for replica in 0..4 {
        net.headers(replica);
    }
    refuse(&mut net, 3, &old, Refusal::SessionExpired);
    assert_eq!(net.events(), []);
    refuse(&mut net, 1, &old, Refusal::SessionExpired);
    assert_eq!(
        net.events(),
        [
            failed(first, CallError::SessionExpired, Outcome::Unknown, [&[1, 3], &[], &[0, 2]]),
            failed(second, CallError::SessionExpired, Outcome::Unknown, [&[], &[], &[0, 1, 2, 3]]),
        ]
    );
    // The new session's birth must come from fresh times.
    let third = net.invoke(b"three");
    assert_eq!(net.requests(0), []);
    for (replica, time) in [(0, 70), (1, 80), (2, 90)] {
        pong(&mut net, replica, time);
    }
    let requests: Vec<Request> = net.requests(0).into_iter().map(|(_, r)| r).collect();
    let seen: Vec<_> = requests
        .iter()
        .map(|r| (r.id.number, r.born, r.operation.clone(), r.id.session == old.id.session))
        .collect();
    assert_eq!(
        seen,
        [
            (1, UnixMicros(81), Operation::Query(Bytes::from_static(b"q")), false),
            (2, UnixMicros(81), Operation::Execute(Bytes::from_static(b"three")), false),
        ]
    );
    for (request, call) in [(&requests[0], read), (&requests[1], third)] {
        for replica in 0..3 {
            net.reply(replica, request, 5, &value(b"r"), true);
        }
        let evidence = evidence(3, [&[0, 1, 2], &[], &[3]], Some(5));
        let result = Bytes::from_static(b"r");
        assert_eq!(net.events(), [ClientEvent::Completed { call, result, evidence }]);
    }
}

#[test]
fn a_replica_that_was_only_behind_takes_its_word_back() {
    let mut net = Net::connected();
    net.invoke(b"one");
    let one = net.request();
    net.invoke(b"two");
    let two = net.request();
    refuse(&mut net, 3, &two, Refusal::SessionExpired);
    net.reply(3, &one, 1, &value(b"r"), true);
    refuse(&mut net, 2, &two, Refusal::SessionExpired);
    assert_eq!(net.events(), []);
    assert_eq!(net.endpoint.status().pending, 2);
}

/// Two replicas replied before the session was evicted, the third lost its link then: neither a
/// result nor an expiry has enough voices until the first two are asked again.
#[test]
fn replicas_that_replied_are_asked_again_when_the_session_may_have_expired() {
    let mut net = Net::connected();
    let call = net.invoke(b"op");
    let request = net.request();
    net.reply(1, &request, 5, &value(b"r"), true);
    net.reply(2, &request, 5, &value(b"r"), true);
    net.millis(1100);
    assert_eq!(net.requests(1), [], "it has replied");
    refuse(&mut net, 0, &request, Refusal::SessionExpired);
    net.millis(10_000 - 1200);
    assert!(!net.requests(1).is_empty() && !net.requests(2).is_empty());
    refuse(&mut net, 1, &request, Refusal::SessionExpired);
    let who: [&[usize]; 3] = [&[2], &[0, 1], &[3]];
    assert_eq!(
        net.events().last(),
        Some(&failed(call, CallError::SessionExpired, Outcome::Unknown, who))
    );
}

#[test]
fn somebody_else_in_the_session_makes_the_client_leave_it() {
    let mut net = Net::connected();
    let call = net.invoke(b"op");
    let request = net.request();
    refuse(&mut net, 0, &request, Refusal::Equivocation);
    refuse(&mut net, 1, &request, Refusal::Equivocation);
    let error = CallError::Refused(Refusal::Equivocation);
    let who: [&[usize]; 3] = [&[0, 1], &[], &[2, 3]];
    assert_eq!(net.events(), [failed(call, error, Outcome::Unknown, who)]);
    for replica in 0..3 {
        pong(&mut net, replica, 9);
    }
    net.invoke(b"op");
    let fresh = net.request();
    assert_eq!(fresh.id.number, 1);
    assert_ne!(fresh.id.session, request.id.session);
}
