//! Ed25519 signatures, and the certificates made of those on ACCEPTs (rule N3).

use bytes::Bytes;
use ed25519_dalek::{Signature, Signer as _, VerifyingKey};

use crate::membership::{Cid, Digest, Epoch, ReplicaId, ReplicaSet, View};
use crate::wire::{Certificate, PeerMessage};

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

/// A signature over these bytes.
pub(super) fn sign(key: &SigningKey, bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(&key.0.sign(bytes).to_bytes())
}

/// Is this the signature of the member at `index` over these bytes? `verify_strict`, so that all
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
