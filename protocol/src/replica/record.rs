//! What a replica writes to its log, so that it keeps its word after a restart (rule N4).

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::membership::{Cid, Digest, Epoch, Regency, ReplicaId, ReplicaSet};
use crate::wire::limits::{MAX_BATCH_REQUESTS, MAX_PEER_FRAME};
use crate::wire::{
    Batch, CheckpointCertificate, DecodeError, SignedStopData, Sync, decode, encode,
};

/// The place of a record in a replica's log; the first is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogPosition(pub u64);

/// A batch and the bytes of its requests, in the batch's order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value {
    /// The batch.
    pub batch: Batch,
    /// The requests.
    pub bodies: Vec<Bytes>,
}

/// One record of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// This replica writes a value. Before the WRITE leaves, and the leader's PROPOSE.
    Written {
        /// The instance.
        cid: Cid,
        /// The epoch.
        epoch: Epoch,
        /// Hash of the batch.
        hash: Digest,
        /// Batch and bodies: whoever accepts the hash later must be able to get them somewhere.
        value: Value,
    },
    /// This replica accepts a hash. Before the ACCEPT leaves.
    Accepted {
        /// The instance.
        cid: Cid,
        /// The epoch.
        epoch: Epoch,
        /// The hash.
        hash: Digest,
        /// The ACCEPT's signature.
        signature: Bytes,
    },
    /// This replica has installed a regency. Before its STOPDATA leaves.
    Regency {
        /// The regency.
        regency: Regency,
        /// The STOPDATA, to be sent again as the same bytes (rule S3); a learner has none.
        stop_data: Option<SignedStopData>,
    },
    /// This replica leads a regency and has made its choice. Before the SYNC leaves.
    Sync(Sync),
    /// An instance is decided.
    Decided {
        /// The instance.
        cid: Cid,
        /// Hash of the batch.
        hash: Digest,
        /// The epoch of the ACCEPTs.
        epoch: Epoch,
        /// Members and their ACCEPTs' signatures as far as known; not verified.
        accepts: Vec<(ReplicaId, Bytes)>,
        /// Batch and bodies, where no [`Record::Written`] of this instance and hash holds them.
        value: Option<Value>,
    },
    /// A stable checkpoint whose state is on disk: records about instances up to it may go.
    Checkpoint(CheckpointCertificate),
    /// ACCEPTs that came after the record of a decision, or from others: with those that stand in
    /// it they hold a certificate. Before any vote on the next instance leaves.
    Proof {
        /// The instance.
        cid: Cid,
        /// Hash of the batch.
        hash: Digest,
        /// The epoch of the ACCEPTs.
        epoch: Epoch,
        /// Members and their ACCEPTs' signatures; not verified.
        accepts: Vec<(ReplicaId, Bytes)>,
    },
}

impl Record {
    /// The bytes of the record.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode(self).into()
    }

    /// Decodes a record and checks the limits of its fields.
    ///
    /// # Errors
    /// Where the bytes are not exactly one record: the log is damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_PEER_FRAME {
            return Err(DecodeError::TooLong { len: bytes.len(), limit: MAX_PEER_FRAME });
        }
        let record: Self = decode(bytes)?;
        let fits = match &record {
            Self::Written { value, .. } => value.fits(),
            Self::Decided { accepts, value, .. } => {
                accepts.len() <= ReplicaSet::CAPACITY && value.as_ref().is_none_or(Value::fits)
            }
            Self::Proof { accepts, .. } => accepts.len() <= ReplicaSet::CAPACITY,
            _ => true,
        };
        if fits { Ok(record) } else { Err(DecodeError::FieldTooLong) }
    }

    /// The instance that a record is about, where it is about one: once a stable checkpoint
    /// covers that, the record is no longer needed.
    #[must_use]
    pub const fn cid(&self) -> Option<Cid> {
        match self {
            Self::Written { cid, .. }
            | Self::Accepted { cid, .. }
            | Self::Decided { cid, .. }
            | Self::Proof { cid, .. } => Some(*cid),
            Self::Checkpoint(certificate) => Some(certificate.checkpoint.cid),
            Self::Regency { .. } | Self::Sync(_) => None,
        }
    }
}

impl Value {
    fn fits(&self) -> bool {
        self.batch.entries.len() <= MAX_BATCH_REQUESTS
            && self.bodies.len() == self.batch.entries.len()
    }
}
