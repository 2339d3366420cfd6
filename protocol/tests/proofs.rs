//! Proofs whose signatures nobody has looked at (rule N3): one replica is handed ACCEPTs one by one.
//! Those of the liar are worthless, and all the others are there.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::{Net, START, signing_key};
use webbft_protocol::auth::{sign_accept, sign_propose};
use webbft_protocol::membership::{Cid, Digest, Epoch, Regency, ReplicaId};
use webbft_protocol::ordering::ProposalFault;
use webbft_protocol::replica::{Notice, PeerFault, Record};
use webbft_protocol::time::UnixMicros;
use webbft_protocol::wire::{Batch, Certificate, LastProof, PeerMessage};

/// The replica under test.
const ME: usize = 3;
/// Its ACCEPTs have bad signatures. It leads.
const LIAR: usize = 0;
const EPOCH: Epoch = Epoch(1);
const NOBODY: [usize; 0] = [];

fn id(index: usize) -> ReplicaId {
    ReplicaId(u16::try_from(index).unwrap())
}

fn batch(cid: Cid) -> Batch {
    Batch { time: UnixMicros(START + cid.0), entries: vec![] }
}

fn hash(net: &Net, cid: Cid) -> Digest {
    batch(cid).hash(net.view.service, net.view.number, cid)
}

fn propose(net: &mut Net, cid: Cid) {
    let hash = hash(net, cid);
    let signature = sign_propose(&signing_key(0), &net.view, cid, EPOCH, hash);
    let batch = batch(cid);
    net.tell(0, ME, PeerMessage::Propose { cid, epoch: EPOCH, batch, signature });
}

fn accept(net: &mut Net, to: usize, cid: Cid, from: usize) {
    let hash = hash(net, cid);
    let signature = if from == LIAR {
        Bytes::from_static(&[7; 64])
    } else {
        sign_accept(&signing_key(from), &net.view, cid, EPOCH, hash)
    };
    net.tell(from, to, PeerMessage::Accept { cid, epoch: EPOCH, hash, signature });
}

/// Drains the replica under test: what it said to its peers, and whom it accused of bad ACCEPTs.
fn turn(net: &mut Net) -> (Vec<PeerMessage>, Vec<usize>) {
    while let Some((position, record)) = net.replicas[ME].poll_record() {
        net.records[ME].push(record);
        net.positions[ME] = position;
        if !net.slow_disks.contains(&ME) {
            net.replicas[ME].handle_durable(net.now, position);
        }
    }
    let said = net.said(ME).into_iter().map(|(_, message)| message).collect();
    let mut accused = Vec::new();
    while let Some(notice) = net.replicas[ME].poll_notice() {
        if let Notice::PeerMisbehaved { peer, fault } = notice {
            assert_eq!(fault, PeerFault::Consensus(ProposalFault::AcceptSignature));
            accused.push(peer);
        }
    }
    (said, accused)
}

/// An instance is decided with the ACCEPTs of the liar and replica 1; then that of replica 2 comes.
fn decide(net: &mut Net, cid: Cid) {
    propose(net, cid);
    accept(net, ME, cid, LIAR);
    accept(net, ME, cid, 1);
    assert_eq!(turn(net).1, NOBODY);
    assert_eq!(net.replicas[ME].status().last_cid, cid);
    accept(net, ME, cid, 2);
    assert_eq!(turn(net).1, NOBODY, "nobody has to look at signatures");
}

/// A certificate of exactly the correct replicas' signatures.
fn good(net: &Net, cid: Cid) -> Certificate {
    let hash = hash(net, cid);
    let sign =
        |&peer: &usize| (id(peer), sign_accept(&signing_key(peer), &net.view, cid, EPOCH, hash));
    Certificate { epoch: EPOCH, signatures: [1, 2, 3].iter().map(sign).collect() }
}

fn writes(said: &[PeerMessage]) -> Vec<Cid> {
    said.iter()
        .filter_map(|message| match message {
            PeerMessage::Write { cid, .. } => Some(*cid),
            _ => None,
        })
        .collect()
}

fn report(net: &mut Net) -> (Cid, LastProof, Vec<usize>) {
    net.tell(1, ME, PeerMessage::Status { last_cid: Cid(0), learner: true });
    let (said, accused) = turn(net);
    let report = said.into_iter().find_map(|message| match message {
        PeerMessage::Report { last_cid, proof, .. } => Some((last_cid, proof)),
        _ => None,
    });
    let (cid, proof) = report.unwrap();
    (cid, proof, accused)
}

/// What the replica under test says when regency 1 begins: its last instance with the proof, and
/// in which epochs it wrote in the next.
fn stop_data(net: &mut Net) -> (Cid, LastProof, Vec<Epoch>) {
    for from in 0..3 {
        net.tell(from, ME, PeerMessage::Stop { regency: Regency(1), evidence: None });
    }
    let (said, _) = turn(net);
    let data = said.into_iter().find_map(|message| match message {
        PeerMessage::StopData(signed) => Some(signed.decode().unwrap()),
        _ => None,
    });
    let data = data.unwrap();
    (data.last_cid, data.proof, data.writeset.iter().map(|(epoch, _)| *epoch).collect())
}

#[test]
fn a_stop_data_proves_with_good_signatures_only() {
    let mut net = Net::new(4, 1);
    decide(&mut net, Cid(1));
    propose(&mut net, Cid(2));
    assert_eq!(writes(&turn(&mut net).0), [Cid(2)]);
    let proof = LastProof::Certificate(good(&net, Cid(1)));
    assert_eq!(stop_data(&mut net), (Cid(1), proof, vec![EPOCH]));
}

#[test]
fn a_report_proves_with_good_signatures_only() {
    let mut net = Net::new(4, 1);
    decide(&mut net, Cid(1));
    let proof = LastProof::Certificate(good(&net, Cid(1)));
    assert_eq!(report(&mut net), (Cid(1), proof.clone(), vec![LIAR]));
    // What was found out once is known.
    assert_eq!(report(&mut net), (Cid(1), proof, vec![]));
}

#[test]
fn a_laggard_gets_good_signatures_only() {
    let mut net = Net::new(4, 1);
    decide(&mut net, Cid(1));
    decide(&mut net, Cid(2));
    for accused in [vec![LIAR, LIAR], vec![]] {
        net.tell(2, ME, PeerMessage::FetchDecisions { from: Cid(1) });
        let (said, found) = turn(&mut net);
        let served: Vec<(Cid, Certificate)> = said
            .into_iter()
            .filter_map(|message| match message {
                PeerMessage::Decided(decision) => Some((decision.cid, decision.certificate)),
                _ => None,
            })
            .collect();
        let expected = [Cid(1), Cid(2)].map(|cid| (cid, good(&net, cid)));
        assert_eq!((served, found), (expected.to_vec(), accused));
    }
}

/// N4: the record of the decision holds the liar's ACCEPT. The others are recorded with the next
/// word, and not before, and found again.
#[test]
fn late_accepts_survive_a_restart() {
    let mut net = Net::logged(4, 1);
    decide(&mut net, Cid(1));
    let proofs = |net: &Net| -> Vec<Vec<ReplicaId>> {
        let ids = |accepts: &[(ReplicaId, Bytes)]| accepts.iter().map(|(id, _)| *id).collect();
        let records = net.records[ME].iter();
        records
            .filter_map(|record| match record {
                Record::Proof { accepts, .. } => Some(ids(accepts)),
                _ => None,
            })
            .collect()
    };
    assert_eq!(proofs(&net), Vec::<Vec<ReplicaId>>::new());
    propose(&mut net, Cid(2));
    assert_eq!(writes(&turn(&mut net).0), [Cid(2)]);
    assert_eq!(proofs(&net), [vec![id(2)]]);
    net.isolate(ME);
    net.restart_from_log(ME);
    turn(&mut net);
    let proof = LastProof::Certificate(good(&net, Cid(1)));
    let (cid, found, writeset) = stop_data(&mut net);
    // Which of the good ones make the certificate does not matter.
    let LastProof::Certificate(mut found) = found else { panic!("{found:?}") };
    found.signatures.sort();
    assert_eq!((cid, LastProof::Certificate(found), writeset), (Cid(1), proof, vec![EPOCH]));
}

/// N4: a vote waits until the ACCEPTs that it rests on are on disk, a leader's too, whose value
/// was recorded with its proposal.
#[test]
fn a_vote_waits_for_the_record_of_late_accepts() {
    let mut net = Net::logged(4, 1);
    let client = net.client();
    // The leader of regency 0 is under test here; the liar is replica 3.
    let submit = |net: &mut Net, number| {
        let body = net.request(client, number, Net::execute("x"));
        net.submit(client, &body, &[0, 1, 2]);
        for from in [1, 2] {
            net.drain(from);
            while let Some(message) = net.wires.entry((from, 0)).or_default().pop_front() {
                net.tell(from, 0, message);
            }
        }
        net.drain(0);
        net.proposed.last().unwrap().clone()
    };
    let vote = |net: &mut Net, from: usize, cid: Cid, batch: &Batch, bad: bool| {
        let hash = batch.hash(net.view.service, net.view.number, cid);
        let signature = sign_accept(&signing_key(from), &net.view, cid, EPOCH, hash);
        let signature = if bad { Bytes::from_static(&[7; 64]) } else { signature };
        net.tell(from, 0, PeerMessage::Accept { cid, epoch: EPOCH, hash, signature });
    };
    let first = submit(&mut net, 1);
    vote(&mut net, 3, Cid(1), &first, true);
    vote(&mut net, 1, Cid(1), &first, false);
    net.drain(0);
    assert_eq!(net.replicas[0].status().last_cid, Cid(1));
    // It proposes the next, and cannot write: of the signatures that it has one is bad.
    submit(&mut net, 2);
    assert_eq!(net.proposed.len(), 2 * 3);
    net.wires.clear();
    net.slow_disks.push(0);
    vote(&mut net, 2, Cid(1), &first, false);
    net.drain(0);
    let wrote = |net: &Net| {
        let sent = net.wires.get(&(0, 1)).into_iter().flatten();
        writes(&sent.cloned().collect::<Vec<_>>())
    };
    assert!(matches!(net.records[0].last(), Some(Record::Proof { cid: Cid(1), .. })));
    assert_eq!(wrote(&net), []);
    net.make_durable(0);
    net.drain(0);
    assert_eq!(wrote(&net), [Cid(2)]);
}

/// The next instance does not wait for ACCEPTs that may never come.
#[test]
fn without_the_last_accept_signatures_are_verified_as_soon_as_the_next_instance_begins() {
    let mut net = Net::new(4, 1);
    propose(&mut net, Cid(1));
    for from in [1, 2] {
        accept(&mut net, ME, Cid(1), from);
    }
    turn(&mut net);
    propose(&mut net, Cid(2));
    assert_eq!(writes(&turn(&mut net).0), [Cid(2)]);
    // One whose signature is bad makes the next instance wait.
    for from in [LIAR, 1] {
        accept(&mut net, ME, Cid(2), from);
    }
    turn(&mut net);
    propose(&mut net, Cid(3));
    let (said, accused) = turn(&mut net);
    assert_eq!((writes(&said), accused), (vec![], vec![LIAR]));
    accept(&mut net, ME, Cid(2), 2);
    assert_eq!(writes(&turn(&mut net).0), [Cid(3)]);
}

/// Where a member did not accept the instance before either, signatures are looked at as soon as
/// the answers have left, so that the next instance has nothing to wait for.
#[test]
fn a_member_that_is_away_is_not_waited_for() {
    let mut net = Net::new(4, 1);
    let accused = |net: &mut Net, cid| {
        propose(net, cid);
        for from in [LIAR, 1] {
            accept(net, ME, cid, from);
        }
        assert_eq!(turn(net).1, NOBODY);
        assert_eq!(net.replicas[ME].status().last_cid, cid);
        net.replicas[ME].handle_deadline(net.now);
        turn(net).1
    };
    assert_eq!(accused(&mut net, Cid(1)), NOBODY, "replica 2 may still accept");
    accept(&mut net, ME, Cid(1), 2);
    assert_eq!(accused(&mut net, Cid(2)), NOBODY, "replica 2 accepted the one before");
    net.tell(1, ME, PeerMessage::FetchDecisions { from: Cid(2) });
    assert_eq!(turn(&mut net).1, [LIAR], "who is asked looks for a proof at once");
    accept(&mut net, ME, Cid(2), 2);
    assert_eq!(accused(&mut net, Cid(3)), NOBODY);
    let certificate = good(&net, Cid(3));
    let decision = webbft_protocol::wire::Decision {
        cid: Cid(3),
        batch: batch(Cid(3)),
        certificate,
        bodies: vec![],
    };
    net.tell(1, ME, PeerMessage::Decided(decision));
    assert_eq!(accused(&mut net, Cid(4)), [LIAR], "replica 2 did not accept the one before");
}
