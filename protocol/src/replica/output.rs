//! What a replica wants done, and what it reports.

use crate::membership::{Cid, Digest, Regency, ReplicaId, ReplicaSet};
use crate::ordering::{ProposalFault, VouchFault};
use crate::time::UnixMicros;
use crate::wire::{BatchEntry, PeerMessage, ReplicaFrame, RequestId};

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
    /// An admitted request has waited for the leader for the whole time-out (rule S8).
    LeaderSuspected {
        /// The leader's position.
        leader: usize,
        /// The request.
        request: RequestId,
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
    /// A peer no longer keeps the decisions that this replica misses.
    FellBehind {
        /// The peer's position.
        peer: usize,
        /// The oldest decision it keeps.
        first: Cid,
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
}
