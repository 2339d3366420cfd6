//! Ed25519 signatures on ACCEPTs, and certificates made of them (rule N3).

use bytes::Bytes;
use ed25519_dalek::{Signature, Signer as _, VerifyingKey};

use crate::membership::{Cid, Digest, Epoch, ReplicaSet, View};
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

/// The signature of an ACCEPT.
#[must_use]
pub fn sign_accept(key: &SigningKey, view: &View, cid: Cid, epoch: Epoch, hash: Digest) -> Bytes {
    let bytes = PeerMessage::accept_bytes(view.service, view.number, cid, epoch, hash);
    Bytes::copy_from_slice(&key.0.sign(&bytes).to_bytes())
}

/// Is this the signature of the member at `index` on an ACCEPT? `verify_strict`, so that all
/// replicas judge alike.
fn verify_accept(
    view: &View,
    index: usize,
    (cid, epoch, hash): (Cid, Epoch, Digest),
    signature: &[u8],
) -> bool {
    let bytes = PeerMessage::accept_bytes(view.service, view.number, cid, epoch, hash);
    let Ok(key) = VerifyingKey::from_bytes(&view.members[index].public_key.0) else {
        return false;
    };
    Signature::from_slice(signature)
        .is_ok_and(|signature| key.verify_strict(&bytes, &signature).is_ok())
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
        let mut seen = ReplicaSet::EMPTY;
        let mut signatures = Vec::new();
        let needed = view.quorums().quorum();
        for (id, signature) in &certificate.signatures {
            let Some(index) = view.index_of(*id) else { continue };
            if !seen.contains(index)
                && verify_accept(view, index, (cid, certificate.epoch, hash), signature)
            {
                seen.insert(index);
                signatures.push((*id, signature.clone()));
                if seen.len() == needed {
                    break;
                }
            }
        }
        if seen.len() < needed {
            return Err(CertificateError::TooFew { valid: seen.len(), needed });
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
