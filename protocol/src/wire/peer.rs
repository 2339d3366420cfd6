//! Messages between replicas.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::checkpoint::{CheckpointCertificate, CheckpointId, Manifest};
use super::codec::{DecodeError, decode, encode};
use super::limits::{CHUNK_BYTES, MAX_BATCH_REQUESTS, MAX_FETCH, MAX_PEER_FRAME, MAX_VOUCHES};
use super::request::{RequestId, SessionKey};
use super::synchronisation::{Evidence, LastProof, SignedStopData, Sync};
use crate::membership::{
    Cid, ClientId, Digest, Epoch, Regency, ReplicaId, ReplicaSet, ServiceId, SessionId, ViewNumber,
};
use crate::time::UnixMicros;

/// One digest that a replica could verify (rule A1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Vouch {
    /// The request.
    pub id: RequestId,
    /// Digest of its bytes.
    pub digest: Digest,
}

/// Vouches of one session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VouchGroup {
    /// The client.
    pub client: ClientId,
    /// The session.
    pub session: SessionId,
    /// Where the entries begin with number 1, the session's birth time as the sender read it in
    /// that request; else 0. Lets the receiver drop what the horizon has passed without holding
    /// the body (rule A8).
    pub born: UnixMicros,
    /// Numbers and digests.
    pub entries: Vec<(u64, Digest)>,
}

impl VouchGroup {
    /// Gathers vouches, keeping their order, into one group per run of the same session.
    #[must_use]
    pub fn gather(vouches: impl IntoIterator<Item = (Vouch, UnixMicros)>) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for (Vouch { id, digest }, born) in vouches {
            match groups.last_mut() {
                Some(group)
                    if (group.client, group.session) == (id.client, id.session)
                        && id.number != 1 =>
                {
                    group.entries.push((id.number, digest));
                }
                _ => groups.push(Self {
                    client: id.client,
                    session: id.session,
                    born,
                    entries: vec![(id.number, digest)],
                }),
            }
        }
        groups
    }

    /// The session that the group is about.
    #[must_use]
    pub const fn session_key(&self) -> SessionKey {
        SessionKey { client: self.client, session: self.session }
    }

    /// The vouches, one by one.
    pub fn vouches(&self) -> impl Iterator<Item = Vouch> + '_ {
        self.entries.iter().map(|&(number, digest)| Vouch {
            id: RequestId { client: self.client, session: self.session, number },
            digest,
        })
    }
}

/// One request in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchEntry {
    /// The request.
    pub id: RequestId,
    /// Digest of its bytes.
    pub digest: Digest,
}

/// What one instance orders: ids and digests; bodies travel from the clients (rule A6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The agreed time (rule N6).
    pub time: UnixMicros,
    /// The requests, in order of execution.
    pub entries: Vec<BatchEntry>,
}

impl Batch {
    /// The hash that is written, accepted and certified. It binds service, view and instance, but
    /// not the epoch: a value keeps its hash when a later leader proposes it again.
    #[must_use]
    pub fn hash(&self, service: ServiceId, view: ViewNumber, cid: Cid) -> Digest {
        Digest::of(&encode(&("webbft batch v1", service, view, cid, self)))
    }
}

/// A quorum's ACCEPTs for one hash (rule N3). Holding one proves nothing: verify it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The epoch in which the ACCEPTs were sent.
    pub epoch: Epoch,
    /// Members and their signatures over [`accept_bytes`](PeerMessage::accept_bytes).
    pub signatures: Vec<(ReplicaId, Bytes)>,
}

/// A decided instance, complete: what a replica that missed it needs (rule N5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The instance.
    pub cid: Cid,
    /// Its batch.
    pub batch: Batch,
    /// The proof.
    pub certificate: Certificate,
    /// The requests' bytes, in the batch's order.
    pub bodies: Vec<Bytes>,
}

/// What a replica says to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerMessage {
    /// The sender's progress: the first message of a stream, and again and again while it is a
    /// learner.
    Status {
        /// Its last decided instance.
        last_cid: Cid,
        /// Does it follow without voting?
        learner: bool,
    },
    /// Digests the sender could verify. `replace` begins the sender's complete current set,
    /// which replaces what the receiver held from it (rule A3).
    Vouches {
        /// Does this frame begin a complete set?
        replace: bool,
        /// The vouches.
        groups: Vec<VouchGroup>,
    },
    /// The sender had to ignore vouches: send the complete set again (rule A3).
    ResendVouches,
    /// Send the bodies of these requests, where held.
    FetchBodies(Vec<Vouch>),
    /// The bytes of one request.
    Body(Bytes),
    /// The leader's proposal for an instance.
    Propose {
        /// The instance.
        cid: Cid,
        /// The epoch.
        epoch: Epoch,
        /// The proposed batch.
        batch: Batch,
        /// Ed25519 signature over [`propose_bytes`](PeerMessage::propose_bytes): two of them for
        /// one instance and epoch are evidence (rule S9).
        signature: Bytes,
    },
    /// First vote.
    Write {
        /// The instance.
        cid: Cid,
        /// The epoch.
        epoch: Epoch,
        /// Hash of the batch.
        hash: Digest,
    },
    /// Second vote.
    Accept {
        /// The instance.
        cid: Cid,
        /// The epoch.
        epoch: Epoch,
        /// Hash of the batch.
        hash: Digest,
        /// Ed25519 signature over [`accept_bytes`](PeerMessage::accept_bytes).
        signature: Bytes,
    },
    /// Send decisions from this instance on.
    FetchDecisions {
        /// The first one wanted.
        from: Cid,
    },
    /// A decided instance with its proof.
    Decided(Decision),
    /// What regency the sender wants at present, in place of what it wanted before (rule S2): a
    /// later one than it has installed, or that one itself.
    Stop {
        /// The regency, and with it every one up to this (rule S4).
        regency: Regency,
        /// Proof that a leader is faulty, where there is one (rule S9).
        evidence: Option<Evidence>,
    },
    /// The sender has installed a regency and tells its leader what it knows (rule S5).
    StopData(SignedStopData),
    /// The new leader's choice (rule S6).
    Sync(Sync),
    /// Send batch and bodies of this hash, where held: a leader change has bound it (rule S7).
    FetchValue {
        /// The instance.
        cid: Cid,
        /// The hash.
        hash: Digest,
    },
    /// Batch and bodies that an instance may decide.
    Value {
        /// The instance.
        cid: Cid,
        /// The batch.
        batch: Batch,
        /// The requests' bytes, in the batch's order.
        bodies: Vec<Bytes>,
    },
    /// A stable checkpoint (rule C3): on a new stream, whenever there is a newer one, and in
    /// answer to [`PeerMessage::FetchDecisions`] where those are no longer kept.
    StableCheckpoint {
        /// The proof.
        certificate: CheckpointCertificate,
        /// The oldest decision that the sender keeps: before it, only the state helps.
        first: Cid,
    },
    /// The sender's state after an instance (rule C2).
    Checkpoint {
        /// Which.
        checkpoint: CheckpointId,
        /// Ed25519 over [`CheckpointId::signed_bytes`].
        signature: Bytes,
    },
    /// Send the manifest of the stable checkpoint after this instance.
    FetchManifest {
        /// The instance.
        cid: Cid,
    },
    /// The manifest of a stable checkpoint.
    Manifest(Manifest),
    /// Send one chunk of the stable checkpoint after this instance.
    FetchChunk {
        /// The instance.
        cid: Cid,
        /// The chunk's place in the manifest.
        index: u32,
    },
    /// A chunk of a stable checkpoint.
    Chunk {
        /// The instance.
        cid: Cid,
        /// The chunk's place in the manifest.
        index: u32,
        /// The chunk.
        bytes: Bytes,
    },
    /// The sender does not keep the state after this instance, or not any more.
    CheckpointGone {
        /// The instance.
        cid: Cid,
    },
    /// The last instance of which the sender can prove that it is decided: to a learner, in answer
    /// to its [`PeerMessage::Status`] (rule D3).
    Report {
        /// The instance.
        last_cid: Cid,
        /// The hash decided there; all zero before the first.
        last_hash: Digest,
        /// The proof of it.
        proof: LastProof,
    },
}

/// A peer message with the service and view it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerEnvelope {
    /// The service.
    pub service: ServiceId,
    /// The sender's view.
    pub view: ViewNumber,
    /// The message.
    pub message: PeerMessage,
}

impl PeerEnvelope {
    /// The bytes of one frame, without the link's length prefix.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode(self).into()
    }

    /// Decodes a frame and checks the limits of its fields.
    ///
    /// # Errors
    /// Where the bytes are not exactly one message within its limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_PEER_FRAME {
            return Err(DecodeError::TooLong { len: bytes.len(), limit: MAX_PEER_FRAME });
        }
        let envelope: Self = decode(bytes)?;
        if envelope.message.within_limits() { Ok(envelope) } else { Err(DecodeError::FieldTooLong) }
    }
}

impl PeerMessage {
    /// What an ACCEPT's signature covers (rules N1 and N3).
    #[must_use]
    pub fn accept_bytes(
        service: ServiceId,
        view: ViewNumber,
        cid: Cid,
        epoch: Epoch,
        hash: Digest,
    ) -> Vec<u8> {
        encode(&("webbft accept v1", service, view, cid, epoch, hash))
    }

    /// What a PROPOSE's signature covers (rule S9).
    #[must_use]
    pub fn propose_bytes(
        service: ServiceId,
        view: ViewNumber,
        cid: Cid,
        epoch: Epoch,
        hash: Digest,
    ) -> Vec<u8> {
        encode(&("webbft propose v1", service, view, cid, epoch, hash))
    }

    fn within_limits(&self) -> bool {
        match self {
            Self::Vouches { groups, .. } => {
                groups.iter().map(|group| group.entries.len().max(1)).sum::<usize>() <= MAX_VOUCHES
            }
            Self::FetchBodies(wanted) => wanted.len() <= MAX_FETCH,
            Self::Propose { batch, .. } => batch.entries.len() <= MAX_BATCH_REQUESTS,
            Self::Decided(decision) => {
                decision.batch.entries.len() <= MAX_BATCH_REQUESTS
                    && decision.bodies.len() == decision.batch.entries.len()
                    && decision.certificate.signatures.len() <= ReplicaSet::CAPACITY
            }
            Self::StableCheckpoint { certificate, .. } => certificate.within_limits(),
            Self::Manifest(manifest) => manifest.within_limits(),
            Self::Chunk { bytes, .. } => bytes.len() <= CHUNK_BYTES,
            Self::Sync(sync) => sync.within_limits(),
            Self::Report { proof, .. } => proof.within_limits(),
            Self::Value { batch, bodies, .. } => {
                batch.entries.len() <= MAX_BATCH_REQUESTS && bodies.len() == batch.entries.len()
            }
            _ => true,
        }
    }
}
