//! What one replica says, and does not say, in a consensus instance (rules A6, A7, N2 to N6): it is
//! handed messages one by one, and its peers get none of its answers.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{Net, START, signing_key};
use webbft_protocol::auth::{CertificateError, sign_accept, sign_propose};
use webbft_protocol::membership::{Cid, Digest, Epoch, ReplicaId, ServiceId, ViewNumber};
use webbft_protocol::ordering::{BatchError, ProposalFault};
use webbft_protocol::replica::{Notice, Parameters, PeerFault};
use webbft_protocol::time::UnixMicros;
use webbft_protocol::wire::{
    Batch, BatchEntry, Certificate, Decision, Operation, PeerMessage, Request, Vouch, VouchGroup,
};

/// The replica under test.
const ME: usize = 3;
const FIRST: (Cid, Epoch) = (Cid(1), Epoch(1));

fn batch(micros: u64, entries: Vec<BatchEntry>) -> Batch {
    Batch { time: UnixMicros(START + micros), entries }
}

fn entry(body: &Bytes) -> BatchEntry {
    BatchEntry { id: Request::decode(body).unwrap().id, digest: Request::digest(body) }
}

fn propose(net: &mut Net, from: usize, cid: Cid, batch: &Batch) {
    let (epoch, batch) = (Epoch(1), batch.clone());
    let hash = batch.hash(net.view.service, net.view.number, cid);
    let signature = sign_propose(&signing_key(from), &net.view, cid, epoch, hash);
    net.tell(from, ME, PeerMessage::Propose { cid, epoch, batch, signature });
}

fn write(net: &mut Net, from: usize, hash: Digest) {
    let (cid, epoch) = FIRST;
    net.tell(from, ME, PeerMessage::Write { cid, epoch, hash });
}

fn accept(net: &mut Net, from: usize, hash: Digest) {
    let (cid, epoch) = FIRST;
    let signature = sign_accept(&signing_key(from), &net.view, cid, epoch, hash);
    net.tell(from, ME, PeerMessage::Accept { cid, epoch, hash, signature });
}

fn vouch(net: &mut Net, from: usize, body: &Bytes, born: UnixMicros) {
    let BatchEntry { id, digest } = entry(body);
    let groups = VouchGroup::gather([(Vouch { id, digest }, born)]);
    net.tell(from, ME, PeerMessage::Vouches { replace: false, groups });
}

/// The hashes of the WRITEs and of the ACCEPTs that the replica has sent since it was last asked.
fn votes(net: &mut Net) -> (Vec<Digest>, Vec<Digest>) {
    let (mut writes, mut accepts) = (Vec::new(), Vec::new());
    for (_, message) in net.said(ME) {
        match message {
            PeerMessage::Write { hash, .. } => writes.push(hash),
            PeerMessage::Accept { hash, .. } => accepts.push(hash),
            _ => {}
        }
    }
    (writes, accepts)
}

fn notices(net: &mut Net) -> Vec<Notice> {
    std::iter::from_fn(|| net.replicas[ME].poll_notice()).collect()
}

fn caught(peer: usize, fault: ProposalFault) -> Notice {
    Notice::PeerMisbehaved { peer, fault: PeerFault::Consensus(fault) }
}

fn last_cid(net: &mut Net) -> Cid {
    votes(net);
    net.replicas[ME].status().last_cid
}

/// N2: WRITEs of f + 1 replicas are no reason for an ACCEPT; those of a quorum are, without the
/// proposal.
#[test]
fn a_minority_decides_nothing_by_writes() {
    let mut net = Net::new(4, 1);
    let hash = Digest([1; 32]);
    write(&mut net, 0, hash);
    write(&mut net, 1, hash);
    assert_eq!(votes(&mut net), (vec![], vec![]));
    write(&mut net, 2, hash);
    assert_eq!(votes(&mut net), (vec![], vec![hash]));
}

/// N2: nor is the replica's own WRITE, with the leader's.
#[test]
fn a_minority_decides_nothing_by_its_own_write() {
    let mut net = Net::new(4, 1);
    let batch = batch(1, vec![]);
    let hash = batch.hash(net.view.service, net.view.number, Cid(1));
    propose(&mut net, 0, Cid(1), &batch);
    write(&mut net, 0, hash);
    assert_eq!(votes(&mut net), (vec![hash], vec![]));
}

/// N2: one ACCEPT may be a lie; one of f + 1 is not.
#[test]
fn a_minority_decides_nothing_by_one_accept() {
    let mut net = Net::new(4, 1);
    let hash = Digest([1; 32]);
    accept(&mut net, 0, hash);
    assert_eq!(votes(&mut net), (vec![], vec![]));
    accept(&mut net, 1, hash);
    assert_eq!(votes(&mut net), (vec![], vec![hash]));
}

/// N2: q ACCEPTs decide, its own among them, and no fewer.
#[test]
fn f_plus_one_accepts_decide_nothing() {
    let mut net = Net::new(4, 1);
    let batch = batch(1, vec![]);
    let hash = batch.hash(net.view.service, net.view.number, Cid(1));
    propose(&mut net, 0, Cid(1), &batch);
    write(&mut net, 0, hash);
    write(&mut net, 1, hash);
    assert_eq!(votes(&mut net), (vec![hash], vec![hash]));
    accept(&mut net, 0, hash);
    assert_eq!(last_cid(&mut net), Cid(0));
    accept(&mut net, 1, hash);
    assert_eq!(last_cid(&mut net), Cid(1));
}

/// A7: one WRITE an instance and epoch, of the first proposal.
#[test]
fn an_equivocating_leader_gets_one_write() {
    let mut net = Net::new(4, 1);
    let hash = batch(1, vec![]).hash(net.view.service, net.view.number, Cid(1));
    for micros in [1, 2] {
        propose(&mut net, 0, Cid(1), &batch(micros, vec![]));
        let expected = if micros == 1 { vec![hash] } else { vec![] };
        assert_eq!(votes(&mut net), (expected, vec![]));
    }
    assert_eq!(notices(&mut net), [caught(0, ProposalFault::TwoProposals)]);
}

#[test]
fn only_the_leader_proposes() {
    let mut net = Net::new(4, 1);
    propose(&mut net, 1, Cid(1), &batch(1, vec![]));
    assert_eq!(votes(&mut net), (vec![], vec![]));
    assert_eq!(notices(&mut net), [caught(1, ProposalFault::NotLeader)]);
}

/// A7: a missing body delays the WRITE, and does not make the batch invalid.
#[test]
fn a_missing_body_delays() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    let body = net.request(client, 1, Net::execute("x"));
    for peer in [0, 1] {
        vouch(&mut net, peer, &body, UnixMicros(START));
    }
    let batch = batch(1, vec![entry(&body)]);
    let hash = batch.hash(net.view.service, net.view.number, Cid(1));
    propose(&mut net, 0, Cid(1), &batch);
    assert_eq!(votes(&mut net), (vec![], vec![]));
    net.tell(0, ME, PeerMessage::Body(body));
    assert_eq!(votes(&mut net), (vec![hash], vec![]));
    assert_eq!(notices(&mut net), []);
}

/// A7: a missing vouch delays it, too.
#[test]
fn a_missing_vouch_delays() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    let body = net.request(client, 1, Net::execute("x"));
    let batch = batch(1, vec![entry(&body)]);
    let hash = batch.hash(net.view.service, net.view.number, Cid(1));
    vouch(&mut net, 0, &body, UnixMicros(START));
    propose(&mut net, 0, Cid(1), &batch);
    net.tell(0, ME, PeerMessage::Body(body.clone()));
    assert_eq!(votes(&mut net), (vec![], vec![]));
    vouch(&mut net, 1, &body, UnixMicros(START));
    net.tell(0, ME, PeerMessage::Body(body));
    assert_eq!(votes(&mut net), (vec![hash], vec![]));
}

/// A7: what f + 1 replicas ever vouched for may be written, though they begin new streams without
/// it; one of them was correct.
#[test]
fn what_was_ever_vouched_for_may_be_written() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    let body = net.request(client, 1, Net::execute("x"));
    for peer in [0, 1] {
        vouch(&mut net, peer, &body, UnixMicros(START));
    }
    for peer in [0, 1] {
        net.tell(peer, ME, PeerMessage::Vouches { replace: true, groups: vec![] });
    }
    let batch = batch(1, vec![entry(&body)]);
    let hash = batch.hash(net.view.service, net.view.number, Cid(1));
    propose(&mut net, 0, Cid(1), &batch);
    net.tell(0, ME, PeerMessage::Body(body));
    assert_eq!(votes(&mut net), (vec![hash], vec![]));
}

/// A6, N6: what makes a batch invalid, as far as ids and times tell.
#[test]
fn invalid_batches() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    net.invoke(client, 1, "x");
    net.run();
    let time = net.replicas[ME].status().time;
    let next = |number| BatchEntry { id: net.id(client, number), digest: Digest([1; 32]) };
    let cases = [
        (time, vec![], BatchError::Time),
        (UnixMicros(time.0 - 1), vec![], BatchError::Time),
        (UnixMicros(time.0 + 1), vec![next(1)], BatchError::Number(next(1).id)),
        (UnixMicros(time.0 + 1), vec![next(3)], BatchError::Number(next(3).id)),
        (UnixMicros(time.0 + 1), vec![next(2), next(2)], BatchError::Number(next(2).id)),
        (UnixMicros(time.0 + 1), vec![next(2), next(4)], BatchError::Number(next(4).id)),
    ];
    for (time, entries, error) in cases {
        let mut net = Net::new(4, 1);
        let client = net.client();
        net.invoke(client, 1, "x");
        net.run();
        propose(&mut net, 0, Cid(2), &Batch { time, entries });
        assert_eq!(votes(&mut net), (vec![], vec![]), "{error:?}");
        assert_eq!(notices(&mut net), [caught(0, ProposalFault::InvalidBatch(error))]);
    }
}

/// A6: nine bodies of a mebibyte are more than a batch may have.
#[test]
fn a_batch_with_too_large_bodies_is_invalid() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    let mut entries = Vec::new();
    for number in 1..=9 {
        let body = net.request(client, number, Operation::Execute(vec![0; 1 << 20].into()));
        entries.push(entry(&body));
        for peer in [0, 1] {
            vouch(&mut net, peer, &body, UnixMicros(START));
        }
        net.tell(0, ME, PeerMessage::Body(body));
    }
    propose(&mut net, 0, Cid(1), &batch(1, entries));
    assert_eq!(votes(&mut net), (vec![], vec![]));
    let fault = ProposalFault::InvalidBatch(BatchError::TooLarge);
    assert_eq!(notices(&mut net), [caught(0, fault)]);
}

/// A9: a batch that begins a session born before the horizon is invalid, though a liar's vouch,
/// with a later birth, has kept the request pending.
#[test]
fn a_batch_with_an_expired_session_is_invalid() {
    let mut parameters = Parameters::default();
    parameters.execution.session_idle = Duration::from_secs(60);
    let mut net = Net::with(4, 1, parameters);
    let client = net.client();
    let body = net.request(client, 1, Net::execute("late"));
    vouch(&mut net, 0, &body, UnixMicros(START + 50_000_000));
    vouch(&mut net, 1, &body, UnixMicros(START));
    net.tell(0, ME, PeerMessage::Body(body.clone()));
    net.wait_ms(61_000);
    let other = net.client();
    net.invoke(other, 1, "tick");
    net.run();
    notices(&mut net);
    let entry = entry(&body);
    let cid = net.replicas[ME].status().last_cid.next();
    propose(&mut net, 0, cid, &batch(61_500_000, vec![entry]));
    assert_eq!(votes(&mut net), (vec![], vec![]));
    let fault = ProposalFault::InvalidBatch(BatchError::Expired(entry.id));
    assert_eq!(notices(&mut net), [caught(0, fault)]);
}

/// N6: a WRITE that waited for the clock leaves as soon as it may.
#[test]
fn a_withheld_write_leaves_as_soon_as_it_may() {
    let mut net = Net::new(4, 1);
    let batch = batch(8_000_000, vec![]);
    let hash = batch.hash(net.view.service, net.view.number, Cid(1));
    let start = net.now;
    propose(&mut net, 0, Cid(1), &batch);
    assert_eq!(votes(&mut net), (vec![], vec![]));
    loop {
        let due = net.replicas[ME].next_deadline().expect("something wakes it");
        net.now.unix = net.now.unix + due.since(net.now.instant);
        net.now.instant = due;
        net.replicas[ME].handle_deadline(net.now);
        let (writes, _) = votes(&mut net);
        if !writes.is_empty() {
            assert_eq!(writes, [hash]);
            break;
        }
    }
    assert_eq!(net.now.instant.since(start.instant), Duration::from_secs(3));
}

/// N1: the hash binds service, view and instance.
#[test]
fn the_hash_binds_service_view_and_instance() {
    let (service, view) = (ServiceId([1; 16]), ViewNumber(0));
    let batch = batch(1, vec![]);
    let hash = batch.hash(service, view, Cid(1));
    assert_ne!(hash, batch.hash(service, view, Cid(2)));
    assert_ne!(hash, batch.hash(service, ViewNumber(1), Cid(1)));
    assert_ne!(hash, batch.hash(ServiceId([2; 16]), view, Cid(1)));
}

fn decision(net: &Net, signers: &[usize], body: &Bytes) -> Decision {
    let (cid, epoch) = FIRST;
    let batch = batch(1, vec![entry(body)]);
    let hash = batch.hash(net.view.service, net.view.number, cid);
    let signatures = signers
        .iter()
        .map(|&peer| {
            let id = ReplicaId(u16::try_from(peer).unwrap());
            (id, sign_accept(&signing_key(peer), &net.view, cid, epoch, hash))
        })
        .collect();
    let certificate = Certificate { epoch, signatures };
    Decision { cid, batch, certificate, bodies: vec![body.clone()] }
}

/// N3: a decision needs a quorum's signatures.
#[test]
fn a_forged_decision_is_not_executed() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    let body = net.request(client, 1, Net::execute("x"));
    let forged = decision(&net, &[0, 1], &body);
    net.tell(0, ME, PeerMessage::Decided(forged));
    assert_eq!(last_cid(&mut net), Cid(0));
    let fault = ProposalFault::Certificate(CertificateError::TooFew { valid: 2, needed: 3 });
    assert_eq!(notices(&mut net), [caught(0, fault)]);
    let real = decision(&net, &[0, 1, 2], &body);
    net.tell(0, ME, PeerMessage::Decided(real));
    assert_eq!(last_cid(&mut net), Cid(1));
}

/// N3: a bad signature among a quorum's ACCEPTs is left out; with another one the decision is
/// proven, and can be shown to others.
#[test]
fn a_bad_accept_is_replaced() {
    let mut net = Net::new(4, 1);
    let batch = batch(1, vec![]);
    let (cid, epoch) = FIRST;
    let hash = batch.hash(net.view.service, net.view.number, cid);
    propose(&mut net, 0, cid, &batch);
    let signature = Bytes::from_static(&[7; 64]);
    net.tell(0, ME, PeerMessage::Accept { cid, epoch, hash, signature });
    accept(&mut net, 1, hash);
    assert_eq!(last_cid(&mut net), cid);
    net.replicas[ME].handle_deadline(net.now);
    let served = |net: &mut Net| {
        net.tell(2, ME, PeerMessage::FetchDecisions { from: cid });
        net.said(ME).iter().any(|(_, message)| matches!(message, PeerMessage::Decided(_)))
    };
    assert!(!served(&mut net));
    accept(&mut net, 2, hash);
    net.said(ME);
    net.replicas[ME].handle_deadline(net.now);
    assert!(served(&mut net));
    assert_eq!(notices(&mut net)[1..], [caught(0, ProposalFault::AcceptSignature)]);
}

/// N5: the bodies must be those that the batch's digests name.
#[test]
fn a_decision_with_other_bodies_is_not_executed() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    let body = net.request(client, 1, Net::execute("x"));
    let other = net.request(client, 1, Net::execute("y"));
    let mut broken = decision(&net, &[0, 1, 2], &body);
    broken.bodies = vec![other];
    net.tell(0, ME, PeerMessage::Decided(broken));
    assert_eq!(last_cid(&mut net), Cid(0));
    assert_eq!(notices(&mut net), [caught(0, ProposalFault::BrokenDecision)]);
}

/// N5: what a replica has said in the open instance it says again on a new stream.
#[test]
fn votes_are_repeated_on_a_new_stream() {
    let mut net = Net::new(4, 1);
    let batch = batch(1, vec![]);
    let hash = batch.hash(net.view.service, net.view.number, Cid(1));
    propose(&mut net, 0, Cid(1), &batch);
    write(&mut net, 0, hash);
    write(&mut net, 1, hash);
    assert_eq!(votes(&mut net), (vec![hash], vec![hash]));
    net.replicas[ME].handle_peer_disconnected(net.now, 2);
    net.replicas[ME].handle_peer_connected(net.now, 2);
    assert_eq!(votes(&mut net), (vec![hash], vec![hash]));
}

/// N5: f + 1 peers that are ahead are a reason to fetch, one is none.
#[test]
fn one_peer_that_claims_to_be_ahead_is_not_asked() {
    for (liars, asks) in [(vec![0], false), (vec![0, 1], true)] {
        let mut net = Net::new(4, 1);
        for &peer in &liars {
            let last_cid = Cid(u64::MAX);
            net.tell(peer, ME, PeerMessage::Status { last_cid, learner: false });
        }
        let mut asked = false;
        let end = net.now.instant + Duration::from_secs(5);
        loop {
            asked |= net
                .said(ME)
                .iter()
                .any(|(_, message)| matches!(message, PeerMessage::FetchDecisions { .. }));
            let Some(due) = net.replicas[ME].next_deadline().filter(|&due| due <= end) else {
                break;
            };
            net.now.instant = due;
            net.replicas[ME].handle_deadline(net.now);
        }
        assert_eq!(asked, asks, "{liars:?}");
    }
}

/// S8: half-way to its time-out a request is sent to the leader again.
#[test]
fn at_half_time_the_request_is_sent_to_the_leader() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    let body = net.request(client, 1, Net::execute("x"));
    net.submit(client, &body, &[ME]);
    for peer in [1, 2] {
        vouch(&mut net, peer, &body, UnixMicros(START));
    }
    net.said(ME);
    let mut sent = Vec::new();
    let end = net.now.instant + Duration::from_millis(1_500);
    while let Some(due) = net.replicas[ME].next_deadline().filter(|&due| due <= end) {
        net.now.instant = due;
        net.replicas[ME].handle_deadline(net.now);
        sent.extend(net.said(ME));
    }
    let bodies: Vec<_> =
        sent.into_iter().filter(|(_, message)| matches!(message, PeerMessage::Body(_))).collect();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    assert_eq!(bodies[0].0.iter().collect::<Vec<_>>(), [0]);
    assert_eq!(bodies[0].1, PeerMessage::Body(body));
}

/// A4: the leader proposes what 2f + 1 replicas vouch for, itself among them: the votes of three
/// others for a body that it has never seen do not count.
#[test]
fn a_request_is_admitted_only_with_the_body_and_an_own_vouch() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    let body = net.request(client, 1, Net::execute("x"));
    let BatchEntry { id, digest } = entry(&body);
    let proposed = |net: &mut Net| {
        let said = net.said(0);
        said.iter().any(|(_, message)| matches!(message, PeerMessage::Propose { .. }))
    };
    for peer in 1..4 {
        let groups = VouchGroup::gather([(Vouch { id, digest }, UnixMicros(START))]);
        net.tell(peer, 0, PeerMessage::Vouches { replace: false, groups });
        assert!(!proposed(&mut net), "after {peer}");
    }
    net.tell(1, 0, PeerMessage::Body(body));
    assert!(proposed(&mut net));
}
