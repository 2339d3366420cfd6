//! What can go wrong, by who has to do something about it.

use webbft_protocol::client::{CallError as ProtocolCallError, Evidence, InvokeError, Outcome};
use webbft_protocol::client::{LinkState, Status};
use webbft_protocol::membership::{ReplicaId, ViewError};
use webbft_protocol::wire::TopicError;

/// Why a client does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The caller: the view is not one.
    #[error("the view is invalid: {0}")]
    View(#[from] ViewError),
    /// The caller: this client speaks plain WebSocket only, so far.
    #[error("member {id}: {url} needs TLS, which this client does not support; use a ws:// URL")]
    Tls {
        /// The member.
        id: ReplicaId,
        /// Its URL.
        url: String,
    },
    /// The machine: no randomness, thread or runtime.
    #[error("the client could not start: {0}")]
    System(#[from] std::io::Error),
}

/// Why [`Client::connect`](crate::Client::connect) gave no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// It could not even begin.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The service: too few replicas answered in time.
    #[error(transparent)]
    NoQuorum(#[from] NoQuorum),
}

/// Too few replicas are connected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no quorum: {connected} of the {needed} replicas needed are connected{}",
    if .unreachable.is_empty() { String::new() } else {
        format!("; not connected: {}", .unreachable.join(", "))
    }
)]
pub struct NoQuorum {
    /// Replicas with an open link.
    pub connected: usize,
    /// The quorum.
    pub needed: usize,
    /// URLs of the others.
    pub unreachable: Vec<String>,
}

impl NoQuorum {
    pub(crate) fn of(status: &Status) -> Self {
        let unreachable = status
            .replicas
            .iter()
            .filter(|replica| replica.state != LinkState::Open)
            .map(|replica| replica.url.clone())
            .collect();
        Self { connected: status.connected, needed: status.needed, unreachable }
    }
}

/// Why a call gave no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The caller: the call was not taken.
    #[error(transparent)]
    Invalid(#[from] InvokeError),
    /// The caller: no topic has this name.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The call was taken and failed.
    #[error("{error}")]
    Failed {
        /// What happened.
        error: ProtocolCallError,
        /// Could the replicas have executed it?
        outcome: Outcome,
        /// Who said what.
        evidence: Evidence,
    },
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}

impl CallError {
    /// Could the replicas have executed the call?
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Invalid(_) | Self::Topic(_) => Outcome::NotSent,
            Self::Failed { outcome, .. } => *outcome,
            // The driver is gone and with it the knowledge of what it had sent.
            Self::Closed => Outcome::Unknown,
        }
    }
}

/// Why a subscription ended without having been dropped.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SubscriptionError {
    /// The caller: events were not taken out in time.
    #[error("the subscriber is too slow: {0} events are waiting to be taken")]
    Lagged(usize),
    /// The subscription was refused or lost.
    #[error(transparent)]
    Call(#[from] CallError),
}
