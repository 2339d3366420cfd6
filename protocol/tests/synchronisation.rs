//! One replica in a leader change (rules S1 to S9 and N4): it is handed messages one by one, of
//! members whose keys the test holds, and its answers go nowhere.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{Net, START, signing_key, view};
use webbft_protocol::auth::{
    CertificateError, StopDataError, VerifiedStopData, proves_leader_faulty, sign_accept,
    sign_propose, sign_stop_data,
};
use webbft_protocol::membership::{
    Cid, Digest, Epoch, Regency, ReplicaId, ReplicaSet, View, ViewNumber,
};
use webbft_protocol::ordering::{BatchError, ProposalFault, SyncFault};
use webbft_protocol::replica::{Durability, Notice, Parameters, PeerFault, Record};
use webbft_protocol::time::UnixMicros;
use webbft_protocol::wire::{
    Batch, BatchEntry, Certificate, Decision, Evidence, LastProof, PeerMessage, Request,
    SignedStopData, StopData, Sync,
};

/// The replica under test; regency 1 is led by member 1, regency 3 by itself.
const ME: usize = 3;
const A: Digest = Digest([1; 32]);
const B: Digest = Digest([2; 32]);

fn id(index: usize) -> ReplicaId {
    ReplicaId(u16::try_from(index).unwrap())
}

fn batch(micros: u64) -> Batch {
    Batch { time: UnixMicros(START + micros), entries: vec![] }
}

fn hash(view: &View, cid: Cid, batch: &Batch) -> Digest {
    batch.hash(view.service, view.number, cid)
}

fn stop(net: &mut Net, from: usize, regency: u32) {
    net.tell(from, ME, PeerMessage::Stop { regency: Regency(regency), evidence: None });
}

/// A quorum of others wants a regency.
fn install(net: &mut Net, regency: u32) {
    for from in 0..3 {
        stop(net, from, regency);
    }
    net.replicas[ME].poll_notice();
    assert_eq!(net.replicas[ME].status().regency, Regency(regency));
}

/// What a member that has decided nothing says when a regency begins.
fn nothing(view: &View, replica: usize, regency: u32) -> StopData {
    StopData {
        service: view.service,
        view: view.number,
        regency: Regency(regency),
        replica: id(replica),
        last_cid: Cid::ZERO,
        last_hash: Digest::default(),
        proof: LastProof::Genesis,
        accepted: None,
        writeset: Vec::new(),
    }
}

/// What a member says that has decided instance 1 with `hash`.
fn decided(view: &View, replica: usize, regency: u32, hash: Digest) -> StopData {
    let (cid, epoch) = (Cid(1), Epoch(1));
    let signatures = (0..3)
        .map(|index| (id(index), sign_accept(&signing_key(index), view, cid, epoch, hash)))
        .collect();
    StopData {
        last_cid: cid,
        last_hash: hash,
        proof: LastProof::Certificate(Certificate { epoch, signatures }),
        ..nothing(view, replica, regency)
    }
}

fn signed(replica: usize, data: &StopData) -> SignedStopData {
    sign_stop_data(&signing_key(replica), data)
}

/// Each member's word, signed.
fn all(datas: &[(usize, StopData)]) -> Vec<SignedStopData> {
    datas.iter().map(|(replica, data)| signed(*replica, data)).collect()
}

fn propose(net: &mut Net, from: usize, cid: Cid, epoch: Epoch, batch: &Batch) {
    let hash = hash(&net.view, cid, batch);
    let signature = sign_propose(&signing_key(from), &net.view, cid, epoch, hash);
    net.tell(from, ME, PeerMessage::Propose { cid, epoch, batch: batch.clone(), signature });
}

/// WRITEs with their epochs.
fn writes(said: &[(ReplicaSet, PeerMessage)]) -> Vec<(Cid, Epoch, Digest)> {
    said.iter()
        .filter_map(|(_, message)| match message {
            PeerMessage::Write { cid, epoch, hash } => Some((*cid, *epoch, *hash)),
            _ => None,
        })
        .collect()
}

fn stop_datas(said: &[(ReplicaSet, PeerMessage)]) -> Vec<(Vec<usize>, SignedStopData)> {
    said.iter()
        .filter_map(|(to, message)| match message {
            PeerMessage::StopData(data) => Some((to.iter().collect(), data.clone())),
            _ => None,
        })
        .collect()
}

fn wanted_regencies(said: &[(ReplicaSet, PeerMessage)]) -> Vec<u32> {
    said.iter()
        .filter_map(|(_, message)| match message {
            PeerMessage::Stop { regency, .. } => Some(regency.0),
            _ => None,
        })
        .collect()
}

fn faults(net: &mut Net) -> Vec<(usize, PeerFault)> {
    std::iter::from_fn(|| net.replicas[ME].poll_notice())
        .filter_map(|notice| match notice {
            Notice::PeerMisbehaved { peer, fault } => Some((peer, fault)),
            _ => None,
        })
        .collect()
}

/// A replica in regency 1 that gets a SYNC with these STOPDATAs and this batch. What it writes, or
/// what it finds wrong.
fn synchronise(
    datas: &[(usize, StopData)],
    batch: &Batch,
) -> Result<Vec<(Cid, Epoch, Digest)>, SyncFault> {
    let mut net = Net::new(4, 1);
    install(&mut net, 1);
    net.said(ME);
    faults(&mut net);
    let sync = Sync { regency: Regency(1), stop_datas: all(datas), batch: batch.clone() };
    net.tell(1, ME, PeerMessage::Sync(sync));
    let said = net.said(ME);
    match faults(&mut net)[..] {
        [] => Ok(writes(&said)),
        [(1, PeerFault::Consensus(ProposalFault::Sync(fault)))] => {
            assert_eq!(wanted_regencies(&said), [2], "a wrong leader is stopped at once");
            Err(fault)
        }
        ref other => panic!("{other:?}"),
    }
}

/// S1: no proposal of a regency counts before its SYNC.
#[test]
fn no_proposal_before_the_sync() {
    let mut net = Net::new(4, 1);
    install(&mut net, 1);
    propose(&mut net, 1, Cid(1), Epoch(2), &batch(1));
    propose(&mut net, 1, Cid(2), Epoch(2), &batch(2));
    assert_eq!(writes(&net.said(ME)), []);
}

/// S1: at the SYNC's instance only its choice counts, bound or not.
#[test]
fn only_the_choice_at_the_syncs_instance() {
    let mut net = Net::new(4, 1);
    install(&mut net, 1);
    let view = net.view.clone();
    let datas: Vec<_> = (0..3).map(|replica| (replica, nothing(&view, replica, 1))).collect();
    let (chosen, other) = (batch(1), batch(2));
    let sync = Sync { regency: Regency(1), stop_datas: all(&datas), batch: chosen.clone() };
    net.tell(1, ME, PeerMessage::Sync(sync));
    propose(&mut net, 1, Cid(1), Epoch(2), &other);
    let expected = (Cid(1), Epoch(2), hash(&view, Cid(1), &chosen));
    assert_eq!(writes(&net.said(ME)), [expected]);
}

/// S2: a replica that wants a leader change goes on voting until there is one.
#[test]
fn a_replica_votes_until_the_regency_begins() {
    let view = view(4, 1);
    let mut net = Net::new(4, 1);
    let evidence = two_proposals(&view, 0, Epoch(1));
    let stop = PeerMessage::Stop { regency: Regency(1), evidence: Some(evidence) };
    net.tell(2, ME, stop);
    // It has joined on the evidence; with the sender's that makes two of four.
    assert_eq!(wanted_regencies(&net.said(ME)), [1]);
    assert_eq!(net.replicas[ME].status().regency, Regency(0));
    propose(&mut net, 0, Cid(1), Epoch(1), &batch(1));
    let expected = (Cid(1), Epoch(1), hash(&view, Cid(1), &batch(1)));
    assert_eq!(writes(&net.said(ME)), [expected]);
}

/// S2: once the regency has begun, nothing of lower epochs is said any more.
#[test]
fn nothing_of_lower_epochs_is_said() {
    let mut net = Net::new(4, 1);
    propose(&mut net, 0, Cid(1), Epoch(1), &batch(1));
    assert_eq!(writes(&net.said(ME)).len(), 1);
    install(&mut net, 1);
    net.said(ME);
    net.replicas[ME].handle_peer_disconnected(net.now, 2);
    net.replicas[ME].handle_peer_connected(net.now, 2);
    propose(&mut net, 0, Cid(1), Epoch(1), &batch(1));
    assert_eq!(writes(&net.said(ME)), []);
}

/// S2: what the others accepted in a lower epoch still decides.
#[test]
fn accepts_of_a_lower_epoch_decide() {
    let mut net = Net::new(4, 1);
    let batch = batch(1);
    propose(&mut net, 0, Cid(1), Epoch(1), &batch);
    net.said(ME);
    install(&mut net, 1);
    let (cid, epoch, hash) = (Cid(1), Epoch(1), hash(&net.view, Cid(1), &batch));
    for from in 0..3 {
        let signature = sign_accept(&signing_key(from), &net.view, cid, epoch, hash);
        net.tell(from, ME, PeerMessage::Accept { cid, epoch, hash, signature });
    }
    net.said(ME);
    assert_eq!(net.replicas[ME].status().last_cid, Cid(1));
}

/// S3: the STOPDATA is made once, when the regency begins, and said again as the same bytes, though
/// the replica knows more by then.
#[test]
fn a_stop_data_is_said_again_as_the_same_bytes() {
    let mut net = Net::new(4, 1);
    let batch = batch(1);
    propose(&mut net, 0, Cid(1), Epoch(1), &batch);
    net.said(ME);
    install(&mut net, 1);
    let first = stop_datas(&net.said(ME));
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].0, [1]);
    let hash = hash(&net.view, Cid(1), &batch);
    let data = first[0].1.decode().unwrap();
    assert_eq!((data.last_cid, data.writeset), (Cid(0), vec![(Epoch(1), hash)]));
    let StopData { proof, .. } = decided(&net.view, 0, 1, hash);
    let LastProof::Certificate(certificate) = proof else { panic!("a certificate") };
    let decision = Decision { cid: Cid(1), batch, certificate, bodies: vec![] };
    net.tell(0, ME, PeerMessage::Decided(decision));
    net.said(ME);
    assert_eq!(net.replicas[ME].status().last_cid, Cid(1));
    net.replicas[ME].handle_peer_disconnected(net.now, 1);
    net.replicas[ME].handle_peer_connected(net.now, 1);
    assert_eq!(stop_datas(&net.said(ME)), first);
}

/// S3: a regency that was skipped has no STOPDATA.
#[test]
fn no_stop_data_for_a_skipped_regency() {
    let mut net = Net::new(4, 1);
    install(&mut net, 2);
    let said = stop_datas(&net.said(ME));
    let of: Vec<(Vec<usize>, Regency)> =
        said.into_iter().map(|(to, data)| (to, data.decode().unwrap().regency)).collect();
    assert_eq!(of, [(vec![2], Regency(2))]);
}

/// S3, N4: a STOPDATA leaves once the regency is on disk.
#[test]
fn a_stop_data_waits_for_the_log() {
    let parameters = Parameters { durability: Durability::Logged, ..Parameters::default() };
    let mut net = Net::with(4, 1, parameters);
    install(&mut net, 1);
    assert_eq!(stop_datas(&net.said(ME)), []);
    let last = std::iter::from_fn(|| net.replicas[ME].poll_record()).last().unwrap().0;
    net.replicas[ME].handle_durable(net.now, last);
    assert_eq!(stop_datas(&net.said(ME)).len(), 1);
}

/// N4: a WRITE leaves once batch and bodies are on disk, an ACCEPT once it is.
#[test]
fn votes_wait_for_the_log() {
    let parameters = Parameters { durability: Durability::Logged, ..Parameters::default() };
    let mut net = Net::with(4, 1, parameters);
    let (batch, cid, epoch) = (batch(1), Cid(1), Epoch(1));
    let hash = hash(&net.view, cid, &batch);
    let votes = |said: Vec<(ReplicaSet, PeerMessage)>| {
        let accepts = said.iter().filter(|(_, m)| matches!(m, PeerMessage::Accept { .. })).count();
        (writes(&said).len(), accepts)
    };
    propose(&mut net, 0, cid, epoch, &batch);
    assert_eq!(votes(net.said(ME)), (0, 0));
    let written = net.replicas[ME].poll_record().unwrap().0;
    net.replicas[ME].handle_durable(net.now, written);
    assert_eq!(votes(net.said(ME)), (1, 0));
    for from in 0..2 {
        net.tell(from, ME, PeerMessage::Write { cid, epoch, hash });
    }
    assert_eq!(votes(net.said(ME)), (0, 0));
    let accepted = net.replicas[ME].poll_record().unwrap().0;
    net.replicas[ME].handle_durable(net.now, accepted);
    assert_eq!(votes(net.said(ME)), (0, 1));
}

/// S4: STOP(3) is a STOP for regencies 1 and 2 as well.
#[test]
fn a_stop_counts_for_every_regency_up_to_its_own() {
    let mut net = Net::new(4, 1);
    stop(&mut net, 0, 3);
    stop(&mut net, 1, 1);
    // f + 1 want regency 1: this replica joins, and that makes a quorum.
    assert_eq!(wanted_regencies(&net.said(ME)), [1]);
    assert_eq!(net.replicas[ME].status().regency, Regency(1));
}

/// S5: everything about a STOPDATA that does not depend on others.
#[test]
fn unusable_stop_datas() {
    let view = view(4, 1);
    let check = |data: &StopData, by: usize| {
        VerifiedStopData::check(&view, &signed(by, data)).map(|data| data.sender())
    };
    let good = nothing(&view, 2, 1);
    assert_eq!(check(&good, 2), Ok(2));
    assert_eq!(check(&decided(&view, 2, 1, A), 2), Ok(2));
    assert_eq!(check(&good, 1), Err(StopDataError::Signature));
    let stranger = StopData { replica: ReplicaId(9), ..good.clone() };
    assert_eq!(check(&stranger, 0), Err(StopDataError::NotMember(ReplicaId(9))));
    let foreign = StopData { view: ViewNumber(1), ..good.clone() };
    assert_eq!(check(&foreign, 2), Err(StopDataError::Foreign));
    for epoch in [0, 2, 3] {
        let early = StopData { accepted: Some((Epoch(epoch), A)), ..good.clone() };
        assert_eq!(check(&early, 2), Err(StopDataError::Epoch));
        let early = StopData { writeset: vec![(Epoch(epoch), A)], ..good.clone() };
        assert_eq!(check(&early, 2), Err(StopDataError::Epoch));
    }
    // Claims without proof: of another hash, of another instance, and by no certificate.
    let too_few = Err(StopDataError::Proof(CertificateError::TooFew { valid: 0, needed: 3 }));
    let claims = StopData { last_hash: B, ..decided(&view, 2, 1, A) };
    assert_eq!(check(&claims, 2), too_few);
    let claims = StopData { last_cid: Cid(5), ..decided(&view, 2, 1, A) };
    assert_eq!(check(&claims, 2), too_few);
    let claims = StopData { last_cid: Cid(5), ..good };
    assert_eq!(check(&claims, 2), Err(StopDataError::Proof(CertificateError::Other)));
}

/// S5: a member speaks for itself: its STOPDATA sent by another is no second one.
#[test]
fn a_stop_data_counts_for_its_signer() {
    let mut net = Net::new(4, 1);
    install(&mut net, 3);
    let view = net.view.clone();
    let synced = |net: &mut Net| {
        net.said(ME).iter().any(|(_, message)| matches!(message, PeerMessage::Sync(_)))
    };
    let data = signed(2, &nothing(&view, 2, 3));
    net.tell(2, ME, PeerMessage::StopData(data.clone()));
    net.tell(0, ME, PeerMessage::StopData(data));
    assert!(!synced(&mut net));
    net.tell(0, ME, PeerMessage::StopData(signed(0, &nothing(&view, 0, 3))));
    assert!(synced(&mut net));
}

/// S6, S7: nobody has voted: any valid batch may follow.
#[test]
fn an_unbound_choice_is_judged_like_any_proposal() {
    let view = view(4, 1);
    let datas: Vec<_> = (0..3).map(|replica| (replica, nothing(&view, replica, 1))).collect();
    let good = batch(1);
    let expected = vec![(Cid(1), Epoch(2), hash(&view, Cid(1), &good))];
    assert_eq!(synchronise(&datas, &good), Ok(expected));
    // A quorum's word is needed, of distinct members.
    assert_eq!(synchronise(&datas[..2], &good), Err(SyncFault::Undetermined));
    let twice = [datas[0].clone(), datas[1].clone(), datas[1].clone()];
    assert_eq!(synchronise(&twice, &good), Err(SyncFault::Repeated));
    let other = [datas[0].clone(), datas[1].clone(), (2, nothing(&view, 2, 2))];
    assert_eq!(synchronise(&other, &good), Err(SyncFault::Regency));
}

/// S7: the check of an unbound batch is heeded when the synchronisation ends.
#[test]
fn an_invalid_unbound_batch_is_not_written() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    install(&mut net, 1);
    net.said(ME);
    let view = net.view.clone();
    let datas: Vec<_> = (0..3).map(|replica| (replica, nothing(&view, replica, 1))).collect();
    let body = net.request(client, 2, Net::execute("second"));
    let entry = BatchEntry { id: net.id(client, 2), digest: Request::digest(&body) };
    let batch = Batch { time: UnixMicros(START), entries: vec![entry] };
    let sync = Sync { regency: Regency(1), stop_datas: all(&datas), batch: batch.clone() };
    net.tell(1, ME, PeerMessage::Sync(sync));
    net.tell(1, ME, PeerMessage::Value { cid: Cid(1), batch, bodies: vec![body] });
    let said = net.said(ME);
    assert_eq!(writes(&said), []);
    assert_eq!(wanted_regencies(&said), [2]);
    let fault = ProposalFault::InvalidBatch(BatchError::Number(entry.id));
    assert_eq!(faults(&mut net), [(1, PeerFault::Consensus(fault))]);
}

/// S7: what a quorum may have accepted is bound: f + 1 members wrote it, and no member of a quorum
/// speaks against it.
#[test]
fn a_bound_value_is_the_only_choice() {
    let view = view(4, 1);
    let value = batch(1);
    let v = hash(&view, Cid(1), &value);
    let (one, accepted) = (Epoch(1), Some((Epoch(1), v)));
    let wrote = |replica| StopData { writeset: vec![(one, v)], ..nothing(&view, replica, 1) };
    let accepter = |replica| StopData { accepted, ..wrote(replica) };
    let expected = Ok(vec![(Cid(1), Epoch(2), v)]);
    let datas = [(0, accepter(0)), (1, wrote(1)), (2, nothing(&view, 2, 1))];
    assert_eq!(synchronise(&datas, &value), expected);
    assert_eq!(synchronise(&datas, &batch(2)), Err(SyncFault::NotBound));
    // All who wrote it say the same: f + 1 replicas, however many entries each has.
    let twice = StopData { accepted, writeset: vec![(one, v), (one, v)], ..nothing(&view, 0, 1) };
    let datas = [(0, twice.clone()), (1, nothing(&view, 1, 1)), (2, nothing(&view, 2, 1))];
    assert_eq!(synchronise(&datas, &value), Err(SyncFault::Undetermined));
    // With a fourth who saw nothing, nothing can have been decided.
    let datas = [
        (0, twice),
        (1, nothing(&view, 1, 1)),
        (2, nothing(&view, 2, 1)),
        (3, nothing(&view, 3, 1)),
    ];
    let other = batch(2);
    let free = Ok(vec![(Cid(1), Epoch(2), hash(&view, Cid(1), &other))]);
    assert_eq!(synchronise(&datas, &other), free);
}

/// S7 in a later regency: the highest epoch wins, a lower vote is compatible with it, and a value
/// counts as written only from the epoch on in which it was accepted.
#[test]
fn the_highest_epoch_wins() {
    let view = view(4, 1);
    let (old, new) = (batch(1), batch(2));
    let (a, b) = (hash(&view, Cid(1), &old), hash(&view, Cid(1), &new));
    let (one, two) = (Epoch(1), Epoch(2));
    let run = |datas: &[(usize, StopData)], batch: &Batch| {
        let mut net = Net::new(4, 1);
        install(&mut net, 2);
        net.said(ME);
        faults(&mut net);
        let sync = Sync { regency: Regency(2), stop_datas: all(datas), batch: batch.clone() };
        net.tell(2, ME, PeerMessage::Sync(sync));
        let written = writes(&net.said(ME));
        match faults(&mut net)[..] {
            [] => Ok(written),
            [(2, PeerFault::Consensus(ProposalFault::Sync(fault)))] => Err(fault),
            ref other => panic!("{other:?}"),
        }
    };
    let says = |replica, accepted, writeset: &[(Epoch, Digest)]| {
        let writeset = writeset.to_vec();
        (replica, StopData { accepted, writeset, ..nothing(&view, replica, 2) })
    };
    let datas = [
        says(0, Some((one, a)), &[(one, a)]),
        says(1, Some((two, b)), &[(one, a), (two, b)]),
        says(2, None, &[(two, b)]),
    ];
    assert_eq!(run(&datas, &new), Ok(vec![(Cid(1), Epoch(3), b)]));
    assert_eq!(run(&datas, &old), Err(SyncFault::NotBound));
    // `b` was written by one at epoch 2; that another wrote it at epoch 1 does not help.
    let datas =
        [says(0, None, &[(one, b)]), says(1, Some((two, b)), &[(two, b)]), says(2, None, &[])];
    assert_eq!(run(&datas, &new), Err(SyncFault::Undetermined));
    // Two claims of the highest epoch contradict each other: more has to be heard.
    let datas = [
        says(0, Some((two, a)), &[(two, a)]),
        says(1, Some((two, b)), &[(two, b)]),
        says(2, None, &[(two, b)]),
    ];
    assert_eq!(run(&datas, &new), Err(SyncFault::Undetermined));
}

/// S6: what members say of an instance that is certified by now is history.
#[test]
fn votes_on_a_certified_instance_bind_nothing() {
    let view = view(4, 1);
    let value = batch(1);
    let v = hash(&view, Cid(1), &value);
    let behind = |replica| StopData {
        accepted: Some((Epoch(1), B)),
        writeset: vec![(Epoch(1), B)],
        ..nothing(&view, replica, 1)
    };
    let datas = [(0, behind(0)), (1, behind(1)), (2, decided(&view, 2, 1, v))];
    let mut net = Net::new(4, 1);
    install(&mut net, 1);
    // It has decided instance 1, too.
    let StopData { proof, .. } = decided(&view, 0, 1, v);
    let LastProof::Certificate(certificate) = proof else { panic!("a certificate") };
    let decision = Decision { cid: Cid(1), batch: value, certificate, bodies: vec![] };
    net.tell(0, ME, PeerMessage::Decided(decision));
    net.said(ME);
    faults(&mut net);
    let next = batch(2);
    let sync = Sync { regency: Regency(1), stop_datas: all(&datas), batch: next.clone() };
    net.tell(1, ME, PeerMessage::Sync(sync));
    let expected = (Cid(2), Epoch(2), hash(&view, Cid(2), &next));
    assert_eq!(writes(&net.said(ME)), [expected]);
    assert_eq!(faults(&mut net), []);
}

fn two_proposals(view: &View, leader: usize, epoch: Epoch) -> Evidence {
    let cid = Cid(1);
    let sign = |hash| sign_propose(&signing_key(leader), view, cid, epoch, hash);
    Evidence::TwoProposals { cid, epoch, proposals: [(A, sign(A)), (B, sign(B))] }
}

/// S9: two signed proposals prove a leader wrong; anything else could frame it.
#[test]
fn evidence_is_checked() {
    let view = view(4, 1);
    let proves = |evidence: &Evidence| proves_leader_faulty(&view, Epoch(2), evidence);
    let good = two_proposals(&view, 1, Epoch(2));
    assert!(proves(&good));
    // Of another's making, of another epoch, with a bad signature, of one proposal.
    assert!(!proves(&two_proposals(&view, 2, Epoch(2))));
    assert!(!proves(&two_proposals(&view, 1, Epoch(1))));
    // The leader before was faulty; this one may be correct.
    assert!(!proves(&two_proposals(&view, 0, Epoch(1))));
    let Evidence::TwoProposals { cid, epoch, proposals: [first, second] } = good;
    let bad = (second.0, Bytes::from_static(&[7; 64]));
    let evidence = |proposals| Evidence::TwoProposals { cid, epoch, proposals };
    assert!(!proves(&evidence([first.clone(), bad])));
    assert!(!proves(&evidence([first.clone(), first])));
}

/// S7: a new leader that does not hold the bound value asks for it before it says anything.
#[test]
fn a_leader_fetches_the_bound_value() {
    let mut net = Net::new(4, 1);
    install(&mut net, 3);
    let view = net.view.clone();
    let value = batch(1);
    let v = hash(&view, Cid(1), &value);
    let bound = |replica| StopData {
        accepted: Some((Epoch(1), v)),
        writeset: vec![(Epoch(1), v)],
        ..nothing(&view, replica, 3)
    };
    for from in [0, 2] {
        net.tell(from, ME, PeerMessage::StopData(signed(from, &bound(from))));
    }
    let mut said = net.said(ME);
    let end = net.now.instant + Duration::from_secs(1);
    while let Some(due) = net.replicas[ME].next_deadline().filter(|&due| due <= end) {
        net.now.instant = due;
        net.replicas[ME].handle_deadline(net.now);
        said.extend(net.said(ME));
    }
    let fetch = PeerMessage::FetchValue { cid: Cid(1), hash: v };
    assert!(said.iter().any(|(_, message)| *message == fetch));
    let syncs = |said: &[(ReplicaSet, PeerMessage)]| -> Vec<Batch> {
        said.iter()
            .filter_map(|(_, message)| match message {
                PeerMessage::Sync(sync) => Some(sync.batch.clone()),
                _ => None,
            })
            .collect()
    };
    assert_eq!(syncs(&said), []);
    net.tell(0, ME, PeerMessage::Value { cid: Cid(1), batch: value.clone(), bodies: vec![] });
    assert_eq!(syncs(&net.said(ME)), [value]);
}

/// N4: a new leader's choice leaves once it is on disk: after a crash it must not choose anew.
#[test]
fn a_sync_waits_for_the_log() {
    let mut net = Net::logged(4, 1);
    install(&mut net, 3);
    let view = net.view.clone();
    let synced = |net: &mut Net| {
        net.said(ME).iter().any(|(_, message)| matches!(message, PeerMessage::Sync(_)))
    };
    let settle = |net: &mut Net| {
        let last = std::iter::from_fn(|| net.replicas[ME].poll_record()).last();
        let (position, record) = last.expect("something was recorded");
        net.replicas[ME].handle_durable(net.now, position);
        record
    };
    assert!(matches!(settle(&mut net), Record::Regency { .. }));
    for from in [0, 2] {
        net.tell(from, ME, PeerMessage::StopData(signed(from, &nothing(&view, from, 3))));
    }
    assert!(!synced(&mut net));
    // The SYNC, and then its batch, which this replica writes itself.
    settle(&mut net);
    assert!(synced(&mut net));
}

/// The hashes that replica 0 has proposed, or proposes again, since it was last asked.
fn proposals(net: &mut Net) -> Vec<Digest> {
    let view = net.view.clone();
    net.said(0)
        .into_iter()
        .filter_map(|(_, message)| match message {
            PeerMessage::Propose { cid, batch, .. } => Some(hash(&view, cid, &batch)),
            _ => None,
        })
        .collect()
}

/// Replica 0 leads and orders an empty batch for the sake of a learner.
fn ask_for_an_empty_batch(net: &mut Net) {
    net.tell(2, 0, PeerMessage::Status { last_cid: Cid(0), learner: true });
}

/// N4: a proposal leaves once it is on disk.
#[test]
fn a_proposal_waits_for_the_log() {
    let mut net = Net::logged(4, 1);
    ask_for_an_empty_batch(&mut net);
    assert_eq!(proposals(&mut net), []);
    let (position, _) = net.replicas[0].poll_record().unwrap();
    net.replicas[0].handle_durable(net.now, position);
    assert_eq!(proposals(&mut net).len(), 1);
}

/// N4: a leader that restarts says what it said before, not something else.
#[test]
fn a_restarted_leader_keeps_its_word() {
    let mut net = Net::logged(4, 1);
    ask_for_an_empty_batch(&mut net);
    net.drain(0);
    let view = net.view.clone();
    let first = hash(&view, Cid(1), &net.proposed[0]);
    // Nobody hears of it.
    net.wires.clear();
    net.now.unix = UnixMicros(net.now.unix.0 + 1_000_000);
    net.restart_from_log(0);
    ask_for_an_empty_batch(&mut net);
    let said = proposals(&mut net);
    assert!(said.iter().all(|&hash| hash == first), "{said:?} instead of {first:?}");
    assert!(!said.is_empty());
}

/// N4, A7: a replica that restarts does not write another batch where it has written one.
#[test]
fn a_restarted_replica_keeps_its_word() {
    let mut net = Net::logged(4, 1);
    propose(&mut net, 0, Cid(1), Epoch(1), &batch(1));
    net.drain(ME);
    net.wires.clear();
    net.restart_from_log(ME);
    net.wires.clear();
    propose(&mut net, 0, Cid(1), Epoch(1), &batch(2));
    // What it records becomes durable, and what waits for that is put on the wires.
    net.drain(ME);
    net.drain(ME);
    let first = (Cid(1), Epoch(1), hash(&net.view, Cid(1), &batch(1)));
    let said: Vec<(ReplicaSet, PeerMessage)> = net
        .wires
        .iter()
        .flat_map(|(&(_, to), wire)| wire.iter().map(move |m| (ReplicaSet::one(to), m.clone())))
        .collect();
    assert!(writes(&said).iter().all(|write| *write == first), "{said:?}");
}

/// S7: a bound value is written though this replica has never heard of its requests: it asks for
/// them.
#[test]
fn a_bound_value_needs_no_vouches() {
    let mut net = Net::new(4, 1);
    let client = net.client();
    install(&mut net, 1);
    net.said(ME);
    let view = net.view.clone();
    let body = net.request(client, 1, Net::execute("bound"));
    let entry = BatchEntry { id: net.id(client, 1), digest: Request::digest(&body) };
    let value = Batch { time: UnixMicros(START), entries: vec![entry] };
    let v = hash(&view, Cid(1), &value);
    let bound = |replica| StopData {
        accepted: Some((Epoch(1), v)),
        writeset: vec![(Epoch(1), v)],
        ..nothing(&view, replica, 1)
    };
    let datas: Vec<_> = (0..3).map(|replica| (replica, bound(replica))).collect();
    let sync = Sync { regency: Regency(1), stop_datas: all(&datas), batch: value.clone() };
    net.tell(1, ME, PeerMessage::Sync(sync));
    assert_eq!(writes(&net.said(ME)), []);
    net.tell(0, ME, PeerMessage::Value { cid: Cid(1), batch: value, bodies: vec![body] });
    assert_eq!(writes(&net.said(ME)), [(Cid(1), Epoch(2), v)]);
}
