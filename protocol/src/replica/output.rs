//! What a replica wants done, and what it reports.

use super::snapshots::StableSnapshotError;
use super::transfer::TransferFault;
use crate::auth::CertificateError;
use crate::membership::{Cid, Digest, Regency, ReplicaId, ReplicaSet};
use crate::ordering::{CheckpointFault, Dissent, ProposalFault, VouchFault};
use crate::time::UnixMicros;
use crate::wire::{BatchEntry, CheckpointId, PeerMessage, ReplicaFrame, RequestId};

/// A client link, named by the driver; a name is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// A message to one or more members. Encode it once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToPeers {
    /// Their positions in the view.
    pub to: ReplicaSet,
    /// The message.
    pub message: PeerMessage,
}

/// A frame to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToClient {
    /// The link it goes to.
    pub link: LinkId,
    /// The frame.
    pub frame: ReplicaFrame,
}

/// How a peer misbehaved: proof that it is faulty, or that its link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerFault {
    /// In a consensus instance.
    #[error(transparent)]
    Consensus(ProposalFault),
    /// In admission.
    #[error(transparent)]
    Vouch(VouchFault),
    /// With checkpoints.
    #[error(transparent)]
    Checkpoint(CheckpointFault),
    /// In a state transfer.
    #[error(transparent)]
    Transfer(TransferFault),
    /// In what it told a learner (rule D3).
    #[error("reported as decided what it does not prove: {0}")]
    Report(CertificateError),
}

/// What a replica has waited for in vain (rule S8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspicion {
    /// This admitted request to be ordered.
    NotOrdered(RequestId),
    /// Its clock to come near the time of the leader's proposal.
    AheadOfClock,
}

/// Something worth knowing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// An instance was decided and executed.
    Decided {
        /// The instance.
        cid: Cid,
        /// Hash of its batch.
        hash: Digest,
        /// What it ordered.
        entries: Vec<BatchEntry>,
    },
    /// The service panicked in this operation; the state is as before it.
    ServiceFaulted {
        /// The request.
        request: RequestId,
        /// The instance.
        cid: Cid,
    },
    /// A member misbehaved.
    PeerMisbehaved {
        /// Its position.
        peer: usize,
        /// How.
        fault: PeerFault,
    },
    /// The leader has kept this replica waiting for the whole time-out (rule S8).
    LeaderSuspected {
        /// The leader's position.
        leader: usize,
        /// For what.
        cause: Suspicion,
    },
    /// A regency has begun (rule S2).
    RegencyInstalled {
        /// The regency.
        regency: Regency,
        /// Its leader's position.
        leader: usize,
    },
    /// The new leader's choice is known: the regency is at work (rule S1).
    Synchronised {
        /// The regency.
        regency: Regency,
    },
    /// This replica has lost its memory and follows without voting (rule D3).
    Learning,
    /// It votes again.
    Voting {
        /// The last instance it has executed.
        last_cid: Cid,
    },
    /// This replica has its state after an instance as bytes, and said so.
    CheckpointTaken {
        /// The state.
        checkpoint: CheckpointId,
        /// Its length.
        bytes: u64,
    },
    /// A quorum has the same state after an instance: it can be had from there.
    CheckpointStable {
        /// The state.
        checkpoint: CheckpointId,
    },
    /// A checkpoint was due while this replica was still busy with an earlier one, or with
    /// restoring its state: it takes no part in this one.
    CheckpointSkipped {
        /// The instance.
        cid: Cid,
    },
    /// The service panicked when asked for its state: it takes no part in this checkpoint.
    SnapshotFailed {
        /// The instance.
        cid: Cid,
    },
    /// At least f + 1 members have another state than this replica: the service is not
    /// deterministic, or somebody's memory is damaged.
    CheckpointDisputed(Dissent),
    /// A quorum has another state than this replica, which therefore stops voting and answering
    /// and fetches the right one (rule C4). Its service is not deterministic, or its memory is
    /// damaged.
    StateDiverged {
        /// The instance.
        cid: Cid,
        /// Digest of its own state.
        own: Digest,
        /// Digest of the quorum's.
        stable: Digest,
    },
    /// This replica misses decisions that are no longer kept: it fetches the state.
    TransferStarted {
        /// The instance whose state it fetches.
        cid: Cid,
    },
    /// It has the state. It reports no decisions for the instances in between.
    StateTransferred {
        /// The last instance it had decided before.
        from: Cid,
        /// The instance whose state it has now.
        cid: Cid,
        /// Hash of that instance's batch.
        hash: Digest,
    },
    /// The state of a stable checkpoint cannot be restored here: this program is to blame.
    TransferFailed {
        /// The instance.
        cid: Cid,
        /// Why.
        error: StableSnapshotError,
    },
}

/// Where a replica stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// The last executed instance.
    pub last_cid: Cid,
    /// The agreed time as of that instance.
    pub time: UnixMicros,
    /// The regency.
    pub regency: Regency,
    /// Its leader.
    pub leader: ReplicaId,
    /// Does it follow without voting?
    pub learner: bool,
    /// Positions of the members it has streams to.
    pub connected: ReplicaSet,
    /// Live sessions.
    pub sessions: usize,
    /// Sessions with un-ordered requests.
    pub pending: usize,
    /// Client links.
    pub links: usize,
    /// The last instance of the latest stable checkpoint known.
    pub stable: Cid,
    /// The last instance of the latest stable checkpoint whose state is on disk.
    pub durable: Cid,
    /// While it fetches the state: chunks held, and chunks in all once that is known.
    pub transfer: Option<(usize, usize)>,
}
