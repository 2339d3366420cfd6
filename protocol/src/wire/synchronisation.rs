//! What a leader change is made of (rules S1 to S9).

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::checkpoint::CheckpointCertificate;
use super::codec::{DecodeError, decode, encode};
use super::limits::{MAX_BATCH_REQUESTS, MAX_WRITESET};
use super::peer::{Batch, Certificate};
use crate::membership::{
    Cid, Digest, Epoch, Regency, ReplicaId, ReplicaSet, ServiceId, ViewNumber,
};

/// Proof that an instance was decided with a certain hash (rule N3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LastProof {
    /// Nothing has been decided yet: instance 0.
    Genesis,
    /// A quorum's ACCEPTs.
    Certificate(Certificate),
    /// A stable checkpoint taken after the instance.
    Checkpoint(CheckpointCertificate),
}

impl LastProof {
    pub(super) const fn within_limits(&self) -> bool {
        let signatures = match self {
            Self::Genesis => 0,
            Self::Certificate(certificate) => certificate.signatures.len(),
            Self::Checkpoint(certificate) => certificate.signatures.len(),
        };
        signatures <= ReplicaSet::CAPACITY
    }
}

/// What a replica knows when a regency begins (rule S5). About the instance after `last_cid` it
/// says what it accepted last and everything that it wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopData {
    /// The service.
    pub service: ServiceId,
    /// The view.
    pub view: ViewNumber,
    /// The regency that begins.
    pub regency: Regency,
    /// The sender.
    pub replica: ReplicaId,
    /// Its last decided instance.
    pub last_cid: Cid,
    /// The hash decided there; all zero before the first.
    pub last_hash: Digest,
    /// The proof of it.
    pub proof: LastProof,
    /// What it accepted last in the instance after that, if anything: written by a quorum.
    pub accepted: Option<(Epoch, Digest)>,
    /// What it wrote there, by ascending epoch.
    pub writeset: Vec<(Epoch, Digest)>,
}

/// A [`StopData`] and its sender's signature over exactly these bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedStopData {
    /// The encoded [`StopData`].
    pub bytes: Bytes,
    /// Ed25519 over [`SignedStopData::signed_bytes`].
    pub signature: Bytes,
}

impl SignedStopData {
    /// What the signature covers.
    #[must_use]
    pub fn signed_bytes(bytes: &[u8]) -> Vec<u8> {
        encode(&("webbft stop data v1", bytes))
    }

    /// Decodes the content. Not a word of it is verified.
    ///
    /// # Errors
    /// Where the bytes are not exactly one [`StopData`] within its limits.
    pub fn decode(&self) -> Result<StopData, DecodeError> {
        let data: StopData = decode(&self.bytes)?;
        if !data.proof.within_limits() || data.writeset.len() > MAX_WRITESET {
            return Err(DecodeError::FieldTooLong);
        }
        Ok(data)
    }
}

/// The new leader's choice, with everything it was made from (rule S6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sync {
    /// The regency.
    pub regency: Regency,
    /// All the STOPDATAs used, whole.
    pub stop_datas: Vec<SignedStopData>,
    /// The batch for the instance after the highest certified one: the bound value, or a new one.
    pub batch: Batch,
}

impl Sync {
    pub(super) fn within_limits(&self) -> bool {
        self.stop_datas.len() <= ReplicaSet::CAPACITY
            && self.batch.entries.len() <= MAX_BATCH_REQUESTS
    }
}

/// Proof that a leader is wrong (rule S9). Holding it proves nothing: verify it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Evidence {
    /// Two signed proposals for one instance and epoch.
    TwoProposals {
        /// The instance.
        cid: Cid,
        /// The epoch.
        epoch: Epoch,
        /// The two hashes, each with the leader's signature over
        /// [`propose_bytes`](super::PeerMessage::propose_bytes).
        proposals: [(Digest, Bytes); 2],
    },
}
