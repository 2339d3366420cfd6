//! Ed25519 signatures between replicas, and proofs made of them (rules N3, S5 and S9).

use bytes::Bytes;
use ed25519_dalek::{Signature, Signer as _, VerifyingKey};

use super::checkpoint::VerifiedCheckpoint;
use crate::membership::{Cid, Digest, Epoch, ReplicaId, ReplicaSet, View};
use crate::wire::{
    Certificate, DecodeError, Evidence, LastProof, PeerMessage, SignedStopData, StopData, encode,
};

/// A replica's signing key.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({:?})", self.public())
    }
}

impl SigningKey {
    /// The key with this secret: any 32 random bytes.
    #[must_use]
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(secret))
    }

    /// The public key, as it stands in the view.
    #[must_use]
    pub fn public(&self) -> Digest {
        Digest(self.0.verifying_key().to_bytes())
    }

    /// The secret, to be stored where only the replica reads.
    #[must_use]
    pub fn secret(&self) -> [u8; 32] {
        self.0.to_bytes()
    }
}

/// A signature over a statement's bytes.
pub(super) fn sign(key: &SigningKey, bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(&key.0.sign(bytes).to_bytes())
}

/// Is this the signature of the member at `index` over `bytes`? `verify_strict`, so that all
/// replicas judge alike.
pub(super) fn verify(view: &View, index: usize, bytes: &[u8], signature: &[u8]) -> bool {
    let Ok(key) = VerifyingKey::from_bytes(&view.members[index].public_key.0) else {
        return false;
    };
    Signature::from_slice(signature)
        .is_ok_and(|signature| key.verify_strict(bytes, &signature).is_ok())
}

/// The signatures of distinct members over `bytes`, a quorum of them at most. Bad, foreign and
/// repeated ones are left out: one of them does not poison the others.
pub(super) fn good_signatures(
    view: &View,
    bytes: &[u8],
    signatures: &[(ReplicaId, Bytes)],
) -> Vec<(ReplicaId, Bytes)> {
    let mut seen = ReplicaSet::EMPTY;
    let mut good = Vec::new();
    for (id, signature) in signatures {
        if good.len() == view.quorums().quorum() {
            break;
        }
        let Some(index) = view.index_of(*id) else { continue };
        if !seen.contains(index) && verify(view, index, bytes, signature) {
            seen.insert(index);
            good.push((*id, signature.clone()));
        }
    }
    good
}

/// The signature of an ACCEPT.
#[must_use]
pub fn sign_accept(key: &SigningKey, view: &View, cid: Cid, epoch: Epoch, hash: Digest) -> Bytes {
    sign(key, &PeerMessage::accept_bytes(view.service, view.number, cid, epoch, hash))
}

/// An ACCEPT whose signature is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedAccept {
    member: usize,
    vote: (Cid, Epoch, Digest),
    signature: Bytes,
}

impl VerifiedAccept {
    /// This replica's own, the member at position `member`.
    #[must_use]
    pub fn sign(
        key: &SigningKey,
        view: &View,
        member: usize,
        (cid, epoch, hash): (Cid, Epoch, Digest),
    ) -> Self {
        let signature = sign_accept(key, view, cid, epoch, hash);
        Self { member, vote: (cid, epoch, hash), signature }
    }

    /// Checks another member's.
    #[must_use]
    pub fn check(
        view: &View,
        member: usize,
        vote: (Cid, Epoch, Digest),
        signature: Bytes,
    ) -> Option<Self> {
        let (cid, epoch, hash) = vote;
        let bytes = PeerMessage::accept_bytes(view.service, view.number, cid, epoch, hash);
        verify(view, member, &bytes, &signature).then_some(Self { member, vote, signature })
    }

    /// Whose it is.
    #[must_use]
    pub const fn member(&self) -> usize {
        self.member
    }

    /// The epoch it was sent in.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.vote.1
    }

    /// The signature.
    #[must_use]
    pub const fn signature(&self) -> &Bytes {
        &self.signature
    }
}

/// The signature of a proposal (rule S9).
#[must_use]
pub fn sign_propose(key: &SigningKey, view: &View, cid: Cid, epoch: Epoch, hash: Digest) -> Bytes {
    sign(key, &PeerMessage::propose_bytes(view.service, view.number, cid, epoch, hash))
}

/// Does this prove that the leader of `epoch` is faulty (rule S9)?
#[must_use]
pub fn proves_leader_faulty(view: &View, epoch: Epoch, evidence: &Evidence) -> bool {
    let Evidence::TwoProposals { cid, epoch: claimed, proposals: [(a, sign_a), (b, sign_b)] } =
        evidence;
    let Some(regency) = epoch.regency().filter(|_| *claimed == epoch && a != b) else {
        return false;
    };
    let leader = view.leader(regency);
    let bytes = |hash| PeerMessage::propose_bytes(view.service, view.number, *cid, epoch, hash);
    verify(view, leader, &bytes(*a), sign_a) && verify(view, leader, &bytes(*b), sign_b)
}

/// Signs what a replica knows when a regency begins (rule S5).
#[must_use]
pub fn sign_stop_data(key: &SigningKey, data: &StopData) -> SignedStopData {
    let bytes: Bytes = encode(data).into();
    let signature = sign(key, &SignedStopData::signed_bytes(&bytes));
    SignedStopData { bytes, signature }
}

/// A STOPDATA that cannot be used: its sender misbehaved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StopDataError {
    /// Malformed.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Of another service or view.
    #[error("a STOPDATA of another service or view")]
    Foreign,
    /// Of somebody who is not a member.
    #[error("a STOPDATA of {0}, which is no member")]
    NotMember(ReplicaId),
    /// The signature is not the sender's.
    #[error("a STOPDATA with a bad signature")]
    Signature,
    /// What it claims to be decided is not certified (rule S5).
    #[error("a STOPDATA without proof of what it claims to be decided: {0}")]
    Proof(CertificateError),
    /// It claims votes of the epoch that begins, or a later one.
    #[error("a STOPDATA with votes of an epoch that has not begun")]
    Epoch,
}

/// A STOPDATA whose signature and proof are good. What it says of its sender's votes is the
/// sender's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedStopData {
    signed: SignedStopData,
    data: StopData,
    sender: usize,
    certificate: Option<VerifiedCertificate>,
}

impl VerifiedStopData {
    /// Checks everything about a STOPDATA that does not depend on others (rules S5 and S6).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(view: &View, signed: &SignedStopData) -> Result<Self, StopDataError> {
        let data = signed.decode()?;
        if (data.service, data.view) != (view.service, view.number) {
            return Err(StopDataError::Foreign);
        }
        let sender = view.index_of(data.replica).ok_or(StopDataError::NotMember(data.replica))?;
        let bytes = SignedStopData::signed_bytes(&signed.bytes);
        if !verify(view, sender, &bytes, &signed.signature) {
            return Err(StopDataError::Signature);
        }
        let epoch = data.regency.epoch();
        let votes = data.accepted.iter().chain(&data.writeset);
        if votes.into_iter().any(|(voted, _)| *voted == Epoch(0) || *voted >= epoch) {
            return Err(StopDataError::Epoch);
        }
        let certificate = check_last(view, data.last_cid, data.last_hash, &data.proof)
            .map_err(StopDataError::Proof)?;
        Ok(Self { signed: signed.clone(), data, sender, certificate })
    }

    /// The certificate of its last decision, where that is its proof.
    #[must_use]
    pub const fn certificate(&self) -> Option<&VerifiedCertificate> {
        self.certificate.as_ref()
    }

    /// The sender's position.
    #[must_use]
    pub const fn sender(&self) -> usize {
        self.sender
    }

    /// What it says.
    #[must_use]
    pub const fn data(&self) -> &StopData {
        &self.data
    }

    /// As it was signed.
    #[must_use]
    pub const fn signed(&self) -> &SignedStopData {
        &self.signed
    }
}

/// Checks the proof that an instance was decided, and with this hash. Gives the certificate where
/// that is the proof.
///
/// # Errors
/// Where it proves nothing, or something else.
pub(crate) fn check_last(
    view: &View,
    cid: Cid,
    hash: Digest,
    proof: &LastProof,
) -> Result<Option<VerifiedCertificate>, CertificateError> {
    match proof {
        LastProof::Genesis => {
            if cid == Cid::ZERO && hash == Digest::default() {
                Ok(None)
            } else {
                Err(CertificateError::Other)
            }
        }
        LastProof::Certificate(certificate) => {
            VerifiedCertificate::check(view, cid, hash, certificate).map(Some)
        }
        LastProof::Checkpoint(certificate) => {
            if (certificate.checkpoint.cid, certificate.checkpoint.hash) != (cid, hash) {
                return Err(CertificateError::Other);
            }
            VerifiedCheckpoint::check(view, certificate).map(|_| None)
        }
    }
}

/// A certificate that does not certify: the peer misbehaved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Too few good signatures of distinct members.
    #[error("{valid} valid signatures of distinct members where {needed} are needed")]
    TooFew {
        /// Good ones found.
        valid: usize,
        /// The quorum.
        needed: usize,
    },
    /// Epochs begin at 1 (rule N1).
    #[error("a certificate of epoch 0")]
    EpochZero,
    /// It is about something else than it is used for.
    #[error("a certificate of something else")]
    Other,
}

/// Proof that a quorum of a view's members accepted one hash for one instance in one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedCertificate {
    certificate: Certificate,
    cid: Cid,
    hash: Digest,
}

impl VerifiedCertificate {
    /// Checks a certificate's signatures for `cid` and `hash`. Signatures that are bad, foreign
    /// or repeated are left out: one of them does not poison the others.
    ///
    /// # Errors
    /// Where fewer than a quorum remain.
    pub fn check(
        view: &View,
        cid: Cid,
        hash: Digest,
        certificate: &Certificate,
    ) -> Result<Self, CertificateError> {
        if certificate.epoch == Epoch(0) {
            return Err(CertificateError::EpochZero);
        }
        let epoch = certificate.epoch;
        let bytes = PeerMessage::accept_bytes(view.service, view.number, cid, epoch, hash);
        let signatures = good_signatures(view, &bytes, &certificate.signatures);
        let needed = view.quorums().quorum();
        if signatures.len() < needed {
            return Err(CertificateError::TooFew { valid: signatures.len(), needed });
        }
        let certificate = Certificate { epoch: certificate.epoch, signatures };
        Ok(Self { certificate, cid, hash })
    }

    /// The certificate that a quorum of verified ACCEPTs makes.
    ///
    /// # Errors
    /// Where fewer than a quorum of distinct members accepted exactly this.
    pub fn of_accepts(
        view: &View,
        (cid, epoch, hash): (Cid, Epoch, Digest),
        accepts: impl IntoIterator<Item = VerifiedAccept>,
    ) -> Result<Self, CertificateError> {
        let mut seen = ReplicaSet::EMPTY;
        let needed = view.quorums().quorum();
        let signatures: Vec<(ReplicaId, Bytes)> = accepts
            .into_iter()
            .filter(|accept| accept.vote == (cid, epoch, hash) && seen.insert(accept.member))
            .map(|accept| (view.members[accept.member].id, accept.signature))
            .take(needed)
            .collect();
        if signatures.len() < needed {
            return Err(CertificateError::TooFew { valid: signatures.len(), needed });
        }
        Ok(Self { certificate: Certificate { epoch, signatures }, cid, hash })
    }

    /// The instance.
    #[must_use]
    pub const fn cid(&self) -> Cid {
        self.cid
    }

    /// The certified hash.
    #[must_use]
    pub const fn hash(&self) -> Digest {
        self.hash
    }

    /// The certificate, with a quorum of good signatures and no other.
    #[must_use]
    pub const fn certificate(&self) -> &Certificate {
        &self.certificate
    }
}
