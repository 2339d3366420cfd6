//! How the client stands with its replicas.

use std::time::Duration;

use super::event::SuspectReason;
use crate::membership::{ReplicaId, ViewNumber};
use crate::time::Instant;
use crate::wire::HelloRefusal;

/// The state of a client as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Not started.
    Idle,
    /// Fewer links than a quorum are open, and never were there more.
    Connecting,
    /// All replicas are connected.
    Ready,
    /// A quorum of replicas is connected, but not all.
    Degraded,
    /// Fewer links than a quorum are left.
    Offline,
    /// Closed for good.
    Closed,
}

/// The state of one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkState {
    /// The socket is being opened, or the handshake is under way.
    Connecting,
    /// Frames flow.
    Open,
    /// The next attempt is due at this time.
    Waiting {
        /// When.
        retry_at: Instant,
    },
    /// Not started, or closed for good.
    Closed,
}

/// What speaks against a replica, and how often it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspicion {
    /// The latest reason.
    pub reason: SuspectReason,
    /// Observations, of all reasons together.
    pub count: u64,
    /// The latest one.
    pub last: Instant,
}

/// One replica as this client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaInfo {
    /// Its id.
    pub id: ReplicaId,
    /// Where it is reached.
    pub url: String,
    /// Its link.
    pub state: LinkState,
    /// The latest round-trip time, from a ping.
    pub rtt: Option<Duration>,
    /// What speaks against it.
    pub suspect: Option<Suspicion>,
    /// What it, or somebody in its place, said when it last refused a link.
    pub refused: Option<HelloRefusal>,
}

/// A snapshot of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The state as a whole.
    pub phase: Phase,
    /// The client's view.
    pub view: ViewNumber,
    /// Replicas in the view.
    pub n: usize,
    /// How many of them may be faulty.
    pub f: usize,
    /// Open links.
    pub connected: usize,
    /// Matching replies that a result needs: the quorum.
    pub needed: usize,
    /// Unfinished calls.
    pub pending: usize,
    /// The replicas, in the view's order.
    pub replicas: Vec<ReplicaInfo>,
}
