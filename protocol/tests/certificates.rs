//! What a certificate certifies (rule N3).
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::{signing_key, view};
use webbft_protocol::auth::{
    CertificateError, PeerError, PeerLink, VerifiedCertificate, VerifiedCheckpoint, sign_accept,
    sign_checkpoint,
};
use webbft_protocol::membership::{Cid, Digest, Epoch, ReplicaId, ServiceId, View, ViewNumber};
use webbft_protocol::wire::{
    Certificate, CheckpointCertificate, CheckpointId, PeerEnvelope, PeerMessage,
};

const CID: Cid = Cid(5);
const EPOCH: Epoch = Epoch(2);
const HASH: Digest = Digest([9; 32]);

fn id(index: usize) -> ReplicaId {
    ReplicaId(u16::try_from(index).unwrap())
}

/// Signatures of some members on one ACCEPT.
fn signed(view: &View, cid: Cid, epoch: Epoch, hash: Digest, by: &[usize]) -> Certificate {
    let signatures = by
        .iter()
        .map(|&index| (id(index), sign_accept(&signing_key(index), view, cid, epoch, hash)))
        .collect();
    Certificate { epoch, signatures }
}

fn check(view: &View, certificate: &Certificate) -> Result<Vec<ReplicaId>, CertificateError> {
    VerifiedCertificate::check(view, CID, HASH, certificate).map(|verified| {
        assert_eq!((verified.cid(), verified.hash()), (CID, HASH));
        verified.certificate().signatures.iter().map(|(id, _)| *id).collect()
    })
}

fn too_few(valid: usize) -> Result<Vec<ReplicaId>, CertificateError> {
    Err(CertificateError::TooFew { valid, needed: 3 })
}

#[test]
fn a_quorum_of_distinct_members_certifies() {
    let view = view(4, 1);
    let of = |by: &[usize]| check(&view, &signed(&view, CID, EPOCH, HASH, by));
    assert_eq!(of(&[3, 0, 2]), Ok(vec![id(3), id(0), id(2)]));
    // More than a quorum are not kept.
    assert_eq!(of(&[0, 1, 2, 3]), Ok(vec![id(0), id(1), id(2)]));
    assert_eq!(of(&[0, 1]), too_few(2));
    assert_eq!(of(&[]), too_few(0));
    // One member three times is one member.
    assert_eq!(of(&[0, 0, 0, 1, 1]), too_few(2));
}

/// A signature is over service, view, instance, epoch and hash; the certificate of one says nothing
/// of another.
#[test]
fn every_part_of_an_accept_counts() {
    let view = view(4, 1);
    let by = &[0, 1, 2];
    assert_eq!(check(&view, &signed(&view, Cid(4), EPOCH, HASH, by)), too_few(0));
    assert_eq!(check(&view, &signed(&view, CID, EPOCH, Digest([8; 32]), by)), too_few(0));
    let claimed = Certificate { epoch: EPOCH, ..signed(&view, CID, Epoch(1), HASH, by) };
    assert_eq!(check(&view, &claimed), too_few(0));
    let next_view = View { number: ViewNumber(1), ..view.clone() };
    assert_eq!(check(&view, &signed(&next_view, CID, EPOCH, HASH, by)), too_few(0));
    let elsewhere = View { service: ServiceId([2; 16]), ..view.clone() };
    assert_eq!(check(&view, &signed(&elsewhere, CID, EPOCH, HASH, by)), too_few(0));
    // Epochs begin at 1 (rule N1).
    assert_eq!(
        check(&view, &signed(&view, CID, Epoch(0), HASH, by)),
        Err(CertificateError::EpochZero)
    );
}

/// A bad, foreign or borrowed signature is left out and spoils nothing.
#[test]
fn a_bad_signature_poisons_nothing() {
    let view = view(4, 1);
    let good = signed(&view, CID, EPOCH, HASH, &[0, 1, 2]);
    for bad in [
        (id(3), Bytes::from_static(&[7; 64])),
        (id(3), Bytes::new()),
        (id(3), good.signatures[0].1.clone()),
        (id(0), Bytes::from_static(&[7; 64])),
        (ReplicaId(99), good.signatures[0].1.clone()),
    ] {
        let mut mixed = good.clone();
        mixed.signatures.insert(0, bad.clone());
        assert_eq!(check(&view, &mixed), Ok(vec![id(0), id(1), id(2)]));
        let mut short = good.clone();
        short.signatures[2] = bad;
        assert_eq!(check(&view, &short), too_few(2));
    }
}

/// C2, C3: a stable checkpoint is a quorum's word for instance, batch and state together.
#[test]
fn a_checkpoint_certifies_batch_and_state() {
    let view = view(4, 1);
    let signed = CheckpointId { cid: CID, hash: HASH, digest: Digest([3; 32]) };
    let of = |checkpoint, by: &[usize]| {
        let sign = |&index| (id(index), sign_checkpoint(&signing_key(index), &view, &signed));
        let signatures = by.iter().map(sign).collect();
        VerifiedCheckpoint::check(&view, &CheckpointCertificate { checkpoint, signatures })
            .map(|stable| stable.id())
    };
    let too_few = |valid| Err(CertificateError::TooFew { valid, needed: 3 });
    assert_eq!(of(signed, &[0, 1, 3]), Ok(signed));
    assert_eq!(of(signed, &[0, 1, 1]), too_few(2));
    let by = &[0, 1, 2, 3];
    assert_eq!(of(CheckpointId { cid: Cid(6), ..signed }, by), too_few(0));
    assert_eq!(of(CheckpointId { hash: Digest([8; 32]), ..signed }, by), too_few(0));
    assert_eq!(of(CheckpointId { digest: Digest([8; 32]), ..signed }, by), too_few(0));
}

/// Between replicas every frame names its service and its view.
#[test]
fn a_frame_of_another_view_or_service_is_refused() {
    let view = view(4, 1);
    let link = PeerLink::authenticated(&view, 2);
    let frame = |service, view| {
        PeerEnvelope { service, view, message: PeerMessage::ResendVouches }.encode()
    };
    let opened = link.open(&frame(view.service, view.number)).unwrap().into_inner();
    assert_eq!((opened.peer, opened.message), (2, PeerMessage::ResendVouches));
    let other = ViewNumber(1);
    assert_eq!(link.open(&frame(view.service, other)), Err(PeerError::View(other)));
    let other = ServiceId([2; 16]);
    assert_eq!(link.open(&frame(other, view.number)), Err(PeerError::Service(other)));
}
