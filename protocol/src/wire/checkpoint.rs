//! Checkpoints: what a quorum says the state was after an instance.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::codec::encode;
use crate::membership::{Cid, Digest, ReplicaId, ServiceId, ViewNumber};

/// What one checkpoint is about: the state after an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CheckpointId {
    /// The last instance that the state holds.
    pub cid: Cid,
    /// Hash of that instance's batch: a stable checkpoint certifies the decision, too (rule N3).
    pub hash: Digest,
    /// Digest of the state's manifest.
    pub digest: Digest,
}

impl CheckpointId {
    /// What a CHECKPOINT's signature covers.
    #[must_use]
    pub fn signed_bytes(&self, service: ServiceId, view: ViewNumber) -> Vec<u8> {
        encode(&("webbft checkpoint v1", service, view, self))
    }
}

/// A quorum's CHECKPOINTs for one state: a stable checkpoint. Holding one proves nothing: verify
/// it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointCertificate {
    /// The state.
    pub checkpoint: CheckpointId,
    /// Members and their signatures over [`CheckpointId::signed_bytes`].
    pub signatures: Vec<(ReplicaId, Bytes)>,
}
