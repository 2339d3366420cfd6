//! CHECKPOINTs of all members, and which of them are stable (rules C2 and C3).

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::auth::{
    CertificateError, SigningKey, VerifiedCheckpoint, sign_checkpoint, verify_checkpoint,
};
use crate::membership::{Cid, Digest, View};
use crate::wire::{CheckpointCertificate, CheckpointId, PeerMessage};

/// CHECKPOINTs of one member that are kept, the latest ones: what a liar says costs nobody else.
const CLAIMS: usize = 2;
/// Of Ed25519. Longer ones are not worth keeping until they are looked at.
const SIGNATURE_BYTES: usize = 64;
/// Stable checkpoints that are remembered, the latest ones.
const STABLE: usize = 2;

/// A peer did what no correct replica does with checkpoints: it misbehaved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointFault {
    /// A signature that is not the sender's.
    #[error("sent a CHECKPOINT with a bad signature")]
    Signature,
    /// Two different states after one instance.
    #[error("sent two different CHECKPOINTs for one instance")]
    TwoStates,
    /// A certificate that certifies nothing.
    #[error("sent a bad checkpoint certificate: {0}")]
    Certificate(CertificateError),
}

#[derive(Debug, Clone)]
struct Claim {
    checkpoint: CheckpointId,
    signature: Bytes,
    verified: bool,
}

/// What the members say of their states.
#[derive(Debug)]
pub struct Checkpoints {
    view: Arc<View>,
    me: usize,
    signing_key: SigningKey,
    /// Of each member the latest ones, by ascending instance.
    claims: Vec<VecDeque<Claim>>,
    /// The latest stable ones, by ascending instance.
    stable: VecDeque<VerifiedCheckpoint>,
}

impl Checkpoints {
    /// None yet.
    #[must_use]
    pub fn new(view: Arc<View>, me: usize, signing_key: SigningKey) -> Self {
        let claims = vec![VecDeque::new(); view.n()];
        Self { view, me, signing_key, claims, stable: VecDeque::new() }
    }

    /// The latest stable checkpoint known.
    #[must_use]
    pub fn stable(&self) -> Option<&VerifiedCheckpoint> {
        self.stable.back()
    }

    /// The one known before that.
    #[must_use]
    pub fn previous(&self) -> Option<&VerifiedCheckpoint> {
        self.stable.len().checked_sub(2).and_then(|index| self.stable.get(index))
    }

    /// The stable checkpoint after instance `cid`, where it is among the latest.
    #[must_use]
    pub fn stable_at(&self, cid: Cid) -> Option<&VerifiedCheckpoint> {
        self.stable.iter().find(|stable| stable.id().cid == cid)
    }

    /// This replica's state after an instance: gives its CHECKPOINT.
    pub fn claim(&mut self, checkpoint: CheckpointId) -> PeerMessage {
        let signature = sign_checkpoint(&self.signing_key, &self.view, &checkpoint);
        let claim = Claim { checkpoint, signature: signature.clone(), verified: true };
        self.keep(self.me, claim);
        PeerMessage::Checkpoint { checkpoint, signature }
    }

    /// This replica's state was wrong: it takes back what it said of it.
    pub fn withdraw(&mut self) {
        self.claims[self.me].clear();
    }

    /// This replica's CHECKPOINTs beyond the latest stable one, to be said again on a new stream.
    #[must_use]
    pub fn resend(&self) -> Vec<PeerMessage> {
        let stable = self.stable().map(|stable| stable.id().cid);
        self.claims[self.me]
            .iter()
            .filter(|claim| Some(claim.checkpoint.cid) > stable)
            .map(|claim| PeerMessage::Checkpoint {
                checkpoint: claim.checkpoint,
                signature: claim.signature.clone(),
            })
            .collect()
    }

    fn keep(&mut self, member: usize, claim: Claim) {
        let claims = &mut self.claims[member];
        let at = claims.partition_point(|known| known.checkpoint.cid < claim.checkpoint.cid);
        claims.insert(at, claim);
        if claims.len() > CLAIMS {
            claims.pop_front();
        }
    }

    /// A member's CHECKPOINT arrived. Its signature is looked at once a quorum says the same.
    ///
    /// # Errors
    /// Where the member contradicts itself.
    pub fn handle_checkpoint(
        &mut self,
        peer: usize,
        checkpoint: CheckpointId,
        signature: Bytes,
    ) -> Result<(), CheckpointFault> {
        if self.stable().is_some_and(|stable| checkpoint.cid <= stable.id().cid) {
            return Ok(());
        }
        if signature.len() != SIGNATURE_BYTES {
            return Err(CheckpointFault::Signature);
        }
        let known =
            self.claims[peer].iter_mut().find(|claim| claim.checkpoint.cid == checkpoint.cid);
        match known {
            None => self.keep(peer, Claim { checkpoint, signature, verified: false }),
            // A replica whose state was wrong and has been replaced says something else: the
            // last word counts. It was faulty all the same.
            Some(claim) if claim.checkpoint != checkpoint => {
                *claim = Claim { checkpoint, signature, verified: false };
                return Err(CheckpointFault::TwoStates);
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// The highest checkpoint that has become stable through the members' CHECKPOINTs, once.
    /// Members whose signatures turned out to be bad are added to `liars`; theirs are left out.
    pub fn advance(&mut self, liars: &mut Vec<usize>) -> Option<VerifiedCheckpoint> {
        let quorum = self.view.quorums().quorum();
        let last = self.stable().map(|stable| stable.id().cid);
        let mut candidates: Vec<CheckpointId> = self
            .claims
            .iter()
            .flatten()
            .map(|claim| claim.checkpoint)
            .filter(|checkpoint| Some(checkpoint.cid) > last)
            .collect();
        candidates.sort_unstable_by(|a, b| b.cmp(a));
        candidates
            .chunk_by(|a, b| a == b)
            .filter(|same| same.len() >= quorum)
            .find_map(|same| self.certify(same[0], liars))
            .inspect(|stable| self.remember(stable.clone()))
    }

    /// The certificate for one state, where a quorum's signatures are good.
    fn certify(
        &mut self,
        checkpoint: CheckpointId,
        liars: &mut Vec<usize>,
    ) -> Option<VerifiedCheckpoint> {
        let mut signatures = Vec::new();
        for (member, claims) in self.claims.iter_mut().enumerate() {
            let Some(at) = claims.iter().position(|claim| claim.checkpoint == checkpoint) else {
                continue;
            };
            let claim = &mut claims[at];
            claim.verified = claim.verified
                || verify_checkpoint(&self.view, member, &checkpoint, &claim.signature);
            if claim.verified {
                signatures.push((self.view.members[member].id, claim.signature.clone()));
            } else {
                claims.remove(at);
                liars.push(member);
            }
        }
        let certificate = CheckpointCertificate { checkpoint, signatures };
        VerifiedCheckpoint::check(&self.view, &certificate).ok()
    }

    /// A certificate arrived. Gives it back where it is good and beyond what is known.
    ///
    /// # Errors
    /// Where it certifies nothing.
    pub fn handle_certificate(
        &mut self,
        certificate: &CheckpointCertificate,
    ) -> Result<Option<VerifiedCheckpoint>, CheckpointFault> {
        if self.stable().is_some_and(|stable| certificate.checkpoint.cid <= stable.id().cid) {
            return Ok(None);
        }
        let stable = VerifiedCheckpoint::check(&self.view, certificate)
            .map_err(CheckpointFault::Certificate)?;
        self.remember(stable.clone());
        Ok(Some(stable))
    }

    /// A stable checkpoint from this replica's own disk.
    pub fn restore(&mut self, stable: VerifiedCheckpoint) {
        if self.stable().is_none_or(|known| known.id().cid < stable.id().cid) {
            self.remember(stable);
        }
    }

    fn remember(&mut self, stable: VerifiedCheckpoint) {
        for claims in &mut self.claims {
            claims.retain(|claim| claim.checkpoint.cid > stable.id().cid);
        }
        self.stable.push_back(stable);
        if self.stable.len() > STABLE {
            self.stable.pop_front();
        }
    }

    /// Members that say something else than this replica of a state that is not stable yet: once
    /// f + 1 do, a correct one is among them.
    #[must_use]
    pub fn dissent(&self) -> Option<Dissent> {
        let needed = self.view.quorums().one_correct();
        self.claims[self.me].iter().find_map(|own| {
            let own = own.checkpoint;
            let others = self
                .claims
                .iter()
                .flatten()
                .filter(|claim| claim.checkpoint.cid == own.cid && claim.checkpoint != own)
                .count();
            (others >= needed).then_some(Dissent { cid: own.cid, digest: own.digest, others })
        })
    }
}

/// f + 1 members or more have another state than this replica after one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dissent {
    /// The instance.
    pub cid: Cid,
    /// Digest of this replica's state.
    pub digest: Digest,
    /// How many say something else.
    pub others: usize,
}

#[cfg(test)]
#[path = "checkpoints_tests.rs"]
mod tests;
