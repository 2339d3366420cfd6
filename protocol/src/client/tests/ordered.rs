//! Ordered calls: votes, full results, retransmission, refusals, outcomes.

use bytes::Bytes;

use crate::client::testing::{Net, evidence, request, value};
use crate::client::{
    CallError, CallId, ClientEvent, EndpointOptions, InvokeError, Outcome, Phase, SuspectReason,
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
    let expected = request(&net, session, 1, 0, Operation::Execute(Bytes::from_static(b"op")));
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
    assert_eq!(net.events(), [ClientEvent::Votes { call, evidence }]);
}
