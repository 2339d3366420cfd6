//! Admission (rules A1 to A10) at whole replicas.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Net, START};
use webbft_protocol::membership::{Cid, Digest, Epoch, SessionId};
use webbft_protocol::ordering::BatchError;
use webbft_protocol::replica::{Notice, Parameters, PeerFault};
use webbft_protocol::time::UnixMicros;
use webbft_protocol::wire::limits::SESSION_WINDOW;
use webbft_protocol::wire::{
    Batch, BatchEntry, Frame, PeerMessage, Refusal, ReplicaFrame, ReplicaHeader, Request, Vouch,
    VouchGroup,
};

use std::time::Duration;
use webbft_protocol::ordering::{ProposalFault, VouchFault};

fn refused(number: u64, request: Digest, refusal: Refusal, net: &Net) -> ReplicaFrame {
    let session = net.clients[0].session;
    Frame::bare(ReplicaHeader::Refused { session, number, request, refusal })
}

/// The paper's attack (4.3): a request whose MAC only some replicas can check. With one replica
/// it is never ordered, with f + 1 it is ordered everywhere, and no subset costs a leader.
#[test]
fn a_request_at_any_subset_of_replicas_never_frames_the_leader() {
    for subset in 1..16_u32 {
        let to: Vec<usize> = (0..4).filter(|index| subset & (1 << index) != 0).collect();
        let mut net = Net::new(4, 1);
        let (honest, attacker) = (net.client(), net.client());
        let body = net.request(attacker, 1, Net::execute("attack"));
        net.submit(attacker, &body, &to);
        net.wait_ms(100);
        net.invoke(honest, 1, "honest");
        net.wait_ms(10_000);
        assert_eq!(net.suspicions(), 0, "subset {to:?}");
        let expected: &[&str] = if to.len() >= 2 { &["attack", "honest"] } else { &["honest"] };
        assert_eq!(net.logs(), vec![expected.to_vec(); 4], "subset {to:?}");
    }
}

/// A1, A6, A7: a leader cannot get a digest ordered that no correct replica verified.
#[test]
fn a_forged_request_is_never_written() {
    let mut net = Net::new(4, 1);
    let victim = net.client();
    let forged = net.request(victim, 1, Net::execute("forged"));
    let entry = BatchEntry { id: net.id(victim, 1), digest: Request::digest(&forged) };
    let batch = Batch { time: UnixMicros(START), entries: vec![entry] };
    let vouch = Vouch { id: entry.id, digest: entry.digest };
    for to in 1..4 {
        let groups = VouchGroup::gather([(vouch, UnixMicros(START))]);
        net.inject(0, to, PeerMessage::Vouches { replace: false, groups });
        let batch = batch.clone();
        net.inject_proposal(0, to, Cid(1), Epoch(1), batch);
        net.inject(0, to, PeerMessage::Body(forged.clone()));
    }
    net.wait_ms(10_000);
    assert_eq!(net.logs(), vec![Vec::<&str>::new(); 4]);
}

/// A1: one digest a number directly; two bodies under one number end as one, everywhere.
#[test]
fn two_bodies_under_one_number_are_ordered_once() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    let (a, b) =
        (net.request(client, 1, Net::execute("a")), net.request(client, 1, Net::execute("b")));
    net.submit(client, &a, &[0, 1, 2]);
    net.submit(client, &b, &[3]);
    net.submit(client, &b, &[0]);
    net.wait_ms(1000);
    assert_eq!(net.logs(), vec![vec!["a"]; 4]);
    let refusal = refused(1, Request::digest(&b), Refusal::Equivocation, &net);
    assert!(net.clients[0].received[0].contains(&refusal));
    assert_eq!(net.suspicions(), 0);
}

/// An even split of two bodies: each has f + 1 vouchers, so both are admitted, and one wins.
#[test]
fn a_split_equivocation_is_resolved() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    let (a, b) =
        (net.request(client, 1, Net::execute("a")), net.request(client, 1, Net::execute("b")));
    net.submit(client, &a, &[0, 1]);
    net.submit(client, &b, &[2, 3]);
    net.wait_ms(5000);
    let logs = net.logs();
    assert_eq!(logs[0].len(), 1);
    assert_eq!(logs, vec![logs[0].clone(); 4]);
    assert_eq!(net.suspicions(), 0);
}

/// A6: a batch whose numbers do not continue a session proves the leader wrong, at once.
#[test]
fn a_batch_with_a_gap_is_invalid() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    let body = net.request(client, 2, Net::execute("second"));
    let entry = BatchEntry { id: net.id(client, 2), digest: Request::digest(&body) };
    let batch = Batch { time: UnixMicros(START), entries: vec![entry] };
    net.inject_proposal(0, 1, Cid(1), Epoch(1), batch);
    net.run();
    let fault = ProposalFault::InvalidBatch(BatchError::Number(entry.id));
    let expected = Notice::PeerMisbehaved { peer: 0, fault: PeerFault::Consensus(fault) };
    assert_eq!(net.notices[1], [expected]);
}

/// A6: a leader does not propose an admitted number before the one that is missing.
#[test]
fn a_later_number_is_not_proposed() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    net.invoke(client, 1, "one");
    net.run();
    let body = net.request(client, 3, Net::execute("three"));
    net.submit(client, &body, &[0]);
    let vouch = Vouch { id: net.id(client, 3), digest: Request::digest(&body) };
    for peer in 1..4 {
        let groups = VouchGroup::gather([(vouch, UnixMicros(START))]);
        net.tell(peer, 0, PeerMessage::Vouches { replace: false, groups });
    }
    let said = net.said(0);
    assert!(!said.iter().any(|(_, message)| matches!(message, PeerMessage::Propose { .. })));
    // With the missing one both are.
    let body = net.request(client, 2, Net::execute("two"));
    net.submit(client, &body, &[0]);
    let vouch = Vouch { id: net.id(client, 2), digest: Request::digest(&body) };
    for peer in 1..4 {
        let groups = VouchGroup::gather([(vouch, UnixMicros(START))]);
        net.tell(peer, 0, PeerMessage::Vouches { replace: false, groups });
    }
    let proposed: Vec<u64> = net
        .said(0)
        .iter()
        .filter_map(|(_, message)| match message {
            PeerMessage::Propose { batch, .. } => Some(batch),
            _ => None,
        })
        .flat_map(|batch| batch.entries.iter().map(|entry| entry.id.number))
        .collect();
    assert_eq!(proposed, [2, 3]);
}

/// Skipped numbers wait for the missing one and hold up nobody else.
#[test]
fn skipped_numbers_wait() {
    let mut net = Net::new(4, 1);
    let (skipping, other) = (net.client(), net.client());
    net.invoke(skipping, 1, "one");
    net.run();
    net.invoke(skipping, 3, "three");
    net.invoke(other, 1, "other");
    net.wait_ms(5000);
    assert_eq!(net.logs(), vec![vec!["one", "other"]; 4]);
    assert_eq!(net.suspicions(), 0);
    net.invoke(skipping, 2, "two");
    net.run();
    assert_eq!(net.logs(), vec![vec!["one", "other", "two", "three"]; 4]);
}

/// A9: number 1 born at or before the horizon, and higher numbers of unknown sessions, are
/// invalid for ever; an evicted session's late copy does not execute twice.
#[test]
fn an_expired_session_is_told_and_not_executed_again() {
    let mut parameters = Parameters::default();
    parameters.execution.session_idle = Duration::from_secs(60);
    let mut net = Net::with(4, 1, parameters);
    let client = net.client();
    let first = net.request(client, 1, Net::execute("first"));
    net.submit(client, &first, &[0, 1, 2, 3]);
    net.wait_ms(61_000);
    let other = net.client();
    net.invoke(other, 1, "tick");
    net.run();
    net.submit(client, &first, &[0, 1, 2, 3]);
    let second = net.request(client, 2, Net::execute("second"));
    net.submit(client, &second, &[0, 1, 2, 3]);
    // An old session's numbers lie beyond a new one's window, and it must be told all the same.
    let late = SESSION_WINDOW + 1;
    let far = net.request(client, late, Net::execute("far"));
    net.submit(client, &far, &[0, 1, 2, 3]);
    net.wait_ms(5000);
    assert_eq!(net.logs(), vec![vec!["first", "tick"]; 4]);
    for replica in 0..4 {
        let received = &net.clients[0].received[replica];
        for (number, body) in [(1, &first), (2, &second), (late, &far)] {
            let expected = refused(number, Request::digest(body), Refusal::SessionExpired, &net);
            assert!(received.contains(&expected), "number {number}");
        }
    }
}

/// A9: a replica that has not executed number 1 yet does not take the session for expired.
#[test]
fn a_lagging_replica_does_not_end_a_session() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    net.isolate(3);
    let body = net.request(client, 1, Net::execute("one"));
    net.submit(client, &body, &[0, 1, 2]);
    net.run();
    let body = net.request(client, 2, Net::execute("two"));
    net.submit(client, &body, &[0, 1, 2, 3]);
    net.run();
    let expected = refused(2, Request::digest(&body), Refusal::NotBegun, &net);
    assert_eq!(net.clients[0].received[3], [expected]);
    net.rejoin(3);
    net.wait_ms(1000);
    assert_eq!(net.logs(), vec![vec!["one", "two"]; 4]);
}

/// A8: a pending request that only one replica knows is dropped when agreed time has passed its
/// birth by the idle limit; a leader orders an empty batch so that agreed time moves.
#[test]
fn stale_new_sessions_are_dropped_by_agreed_time() {
    let mut parameters = Parameters::default();
    parameters.execution.session_idle = Duration::from_secs(60);
    let mut net = Net::with(4, 1, parameters);
    let (client, other) = (net.client(), net.client());
    net.invoke(other, 1, "tick");
    let body = net.request(client, 1, Net::execute("lonely"));
    net.submit(client, &body, &[0]);
    net.wait_ms(59_000);
    assert_eq!(net.replicas[0].status().pending, 1);
    net.wait_ms(2000);
    let pending: Vec<usize> = net.replicas.iter().map(|r| r.status().pending).collect();
    assert_eq!(pending, [0; 4]);
    assert_eq!(net.replicas[3].status().last_cid, Cid(2));
    assert_eq!(net.logs(), vec![vec!["tick"]; 4]);
}

/// A10: the quota of new sessions is per client; one client cannot use up another's.
#[test]
fn new_sessions_are_limited_per_client() {
    let mut net = Net::new(4, 1);
    let (greedy, modest) = (net.client(), net.client());
    for session in 0..17_u8 {
        net.clients[greedy].session.0 = [100 + session; 16];
        let body = net.request(greedy, 1, Net::execute("x"));
        net.submit(greedy, &body, &[3]);
    }
    net.run();
    let last = net.clients[greedy].received[3].last().unwrap().header.clone();
    assert!(matches!(last, ReplicaHeader::Refused { refusal: Refusal::Sessions, .. }), "{last:?}");
    net.invoke(modest, 1, "modest");
    net.wait_ms(1000);
    assert_eq!(net.logs(), vec![vec!["modest"]; 4]);
    assert_eq!(net.suspicions(), 0);
}

/// A10: a peer that vouches for more digests of one number than correct replicas can is caught,
/// and takes no room from others.
#[test]
fn a_lying_voucher_is_caught() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    let id = net.id(client, 1);
    for n in 0..4_u8 {
        let vouch = Vouch { id, digest: Digest([n; 32]) };
        let groups = VouchGroup::gather([(vouch, UnixMicros(START))]);
        net.inject(3, 0, PeerMessage::Vouches { replace: false, groups });
    }
    net.run();
    let fault = PeerFault::Vouch(VouchFault::Digests);
    assert_eq!(net.notices[0], [Notice::PeerMisbehaved { peer: 3, fault }]);
    net.invoke(client, 1, "real");
    net.run();
    assert_eq!(net.logs(), vec![vec!["real"]; 4]);
}

/// A3: a stream begins with the complete set, which replaces what was held; A4: admission is a
/// function of the present sets.
#[test]
fn a_new_stream_replaces_the_old_vouches() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    let body = net.request(client, 1, Net::execute("x"));
    // The leader hears of no vouch but its own and replica 1's, then 1 starts afresh.
    net.disconnect(0, 2);
    net.disconnect(0, 3);
    net.submit(client, &body, &[0, 1, 2]);
    net.run();
    net.inject(1, 0, PeerMessage::Vouches { replace: true, groups: vec![] });
    net.run();
    net.connect(0, 2);
    net.run();
    // 0 and 2 vouch at present: not 2f + 1, although three ever did.
    assert_eq!(net.logs(), vec![Vec::<&str>::new(); 4]);
    net.disconnect(0, 1);
    net.connect(0, 1);
    net.run();
    assert_eq!(net.logs()[0], ["x"]);
}

/// The service's own check is a refusal, before anything is vouched for.
#[test]
fn the_service_may_refuse() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    let body = net.request(client, 1, Net::execute("inadmissible"));
    net.submit(client, &body, &[0, 1, 2, 3]);
    net.run();
    let refusal = Refusal::Service("never".to_owned());
    let expected = refused(1, Request::digest(&body), refusal, &net);
    for replica in 0..4 {
        assert_eq!(net.clients[0].received[replica], std::slice::from_ref(&expected));
    }
}

/// A1: nobody vouches along for a later number of a session whose number 1 it does not vouch for.
/// Peers would have to ignore that, and would ask for complete sets for ever (rule A3).
#[test]
fn a_later_number_waits_for_the_first() {
    thread_local! {
        static ASKED: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
    }
    let mut net = Net::new(4, 1);
    let client = net.client();
    let bodies =
        [1, 2].map(|number| net.request(client, number, Net::execute("only replica 0 verifies")));
    net.lost = |from, _, message| {
        ASKED.set(ASKED.get() + u32::from(matches!(message, PeerMessage::ResendVouches)));
        from == 2
    };
    for body in &bodies {
        net.submit(client, body, &[0]);
    }
    // The liar invents a digest under number 1, and helps number 2 at replica 1.
    let id = |number| net.id(client, number);
    let invented = Vouch { id: id(1), digest: Digest([7; 32]) };
    let second = Vouch { id: id(2), digest: Request::digest(&bodies[1]) };
    let groups = VouchGroup::gather([invented, second].map(|vouch| (vouch, UnixMicros(START))));
    net.inject(2, 1, PeerMessage::Vouches { replace: false, groups });
    net.wait_ms(10_000);
    assert!(ASKED.get() <= 4, "asked for complete sets {} times", ASKED.get());
    // What the others verify after all is ordered.
    net.lost = |_, _, _| false;
    for body in &bodies {
        net.submit(client, body, &[1, 2, 3]);
    }
    net.wait_ms(1000);
    assert_eq!(net.logs(), vec![vec!["only replica 0 verifies"; 2]; 4]);
}

/// A9: sessions that were refused do not count against the link's limit of 64.
#[test]
fn refused_sessions_do_not_fill_a_link() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    for session in 100..200 {
        net.clients[client].session = SessionId([session; 16]);
        let body = net.request(client, 2, Net::execute("of a session that has not begun"));
        net.submit(client, &body, &[0]);
    }
    net.run();
    let refused = |frame: &&ReplicaFrame| {
        matches!(frame.header, ReplicaHeader::Refused { refusal: Refusal::NotBegun, .. })
    };
    assert_eq!(net.clients[client].received[0].iter().filter(refused).count(), 100);
    net.invoke(client, 1, "a session that begins");
    net.run();
    assert_eq!(net.logs(), vec![vec!["a session that begins"]; 4]);
}
