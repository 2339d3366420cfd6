//! Signatures on CHECKPOINTs, and the proof that a checkpoint is stable (rules C2 and C3).

use bytes::Bytes;

use super::signature::{CertificateError, SigningKey, good_signatures, sign, verify};
use crate::membership::View;
use crate::wire::{CheckpointCertificate, CheckpointId};

/// The signature of a CHECKPOINT.
#[must_use]
pub fn sign_checkpoint(key: &SigningKey, view: &View, checkpoint: &CheckpointId) -> Bytes {
    sign(key, &checkpoint.signed_bytes(view.service, view.number))
}

/// Is this the signature of the member at `index` on a CHECKPOINT?
pub(crate) fn verify_checkpoint(
    view: &View,
    index: usize,
    checkpoint: &CheckpointId,
    signature: &[u8],
) -> bool {
    verify(view, index, &checkpoint.signed_bytes(view.service, view.number), signature)
}

/// Proof that a quorum of a view's members had the same state after an instance: at least one
/// correct replica of any quorum can tell, and f + 1 correct ones hold the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedCheckpoint(CheckpointCertificate);

impl VerifiedCheckpoint {
    /// Checks a certificate's signatures. Those that are bad, foreign or repeated are left out:
    /// one of them does not poison the others.
    ///
    /// # Errors
    /// Where fewer than a quorum remain.
    pub fn check(
        view: &View,
        certificate: &CheckpointCertificate,
    ) -> Result<Self, CertificateError> {
        let checkpoint = certificate.checkpoint;
        let bytes = checkpoint.signed_bytes(view.service, view.number);
        let signatures = good_signatures(view, &bytes, &certificate.signatures);
        let needed = view.quorums().quorum();
        if signatures.len() < needed {
            return Err(CertificateError::TooFew { valid: signatures.len(), needed });
        }
        Ok(Self(CheckpointCertificate { checkpoint, signatures }))
    }

    /// The state.
    #[must_use]
    pub const fn id(&self) -> CheckpointId {
        self.0.checkpoint
    }

    /// The certificate, with a quorum of good signatures and no other.
    #[must_use]
    pub const fn certificate(&self) -> &CheckpointCertificate {
        &self.0
    }
}
