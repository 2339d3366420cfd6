//! What can go wrong, by who has to do something about it.

use std::path::PathBuf;

use webbft_protocol::client::{CallError as ProtocolCallError, Evidence, InvokeError, Outcome};
use webbft_protocol::client::{LinkState, ReplicaInfo, Status, SuspectReason};
use webbft_protocol::membership::{ReplicaId, ViewError};
use webbft_protocol::wire::{HelloRefusal, TopicError};

use crate::code::Code;

/// Why a client does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The caller: the view is not one.
    #[error("the view is invalid: {0}")]
    View(#[from] ViewError),
    /// The caller: a member cannot be reached under its URL.
    #[error("member {id}: {url}: {reason}")]
    Url {
        /// The member.
        id: ReplicaId,
        /// Its URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The caller: these are no certificates.
    #[error("the certificates of the authorities cannot be used: {0}")]
    Roots(String),
    /// The caller: the file with the client's key cannot be used.
    #[error("the client's key {} {reason}", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The caller: another client uses the file with the client's key. To the replicas both would be
    /// one, and share its quotas.
    #[error("the client's key {} is in use by another client; give each its own", path.display())]
    IdentityInUse {
        /// The file.
        path: PathBuf,
    },
    /// The machine: no randomness, thread or runtime.
    #[error("the client could not start: {0}")]
    System(#[from] std::io::Error),
}

impl StartError {
    /// What went wrong, in one word.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::View(_) => Code::View,
            _ => Code::Input,
        }
    }

    /// May starting again, unchanged, succeed later?
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }
}

/// Why [`Client::update_view`](crate::Client::update_view) left everything as it was.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// The view cannot be used.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The caller: a client belongs to one service.
    #[error("the view is of another service: start a client of its own for that")]
    OtherService,
    /// The caller: there is no client any more.
    #[error("the client is closed")]
    Closed,
}

impl UpdateError {
    /// What went wrong, in one word.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Start(error) => error.code(),
            Self::OtherService => Code::View,
            Self::Closed => Code::Closed,
        }
    }

    /// May the same view be taken later?
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }
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

impl ConnectError {
    /// What went wrong, in one word.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Start(error) => error.code(),
            Self::NoQuorum(error) => error.code(),
        }
    }

    /// May connecting again, unchanged, succeed later?
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }
}

/// Too few replicas are connected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no quorum: {connected} of the {needed} replicas needed are connected{}{}",
    if .unreachable.is_empty() { String::new() } else {
        format!("; not connected: {}", .unreachable.join(", "))
    },
    .obstacle.map_or_else(String::new, |obstacle| format!("; they {obstacle}"))
)]
pub struct NoQuorum {
    /// Replicas with an open link.
    pub connected: usize,
    /// The quorum.
    pub needed: usize,
    /// URLs of the others.
    pub unreachable: Vec<String>,
    /// What keeps them from being connected, where with this view there is no quorum to be had.
    pub obstacle: Option<Obstacle>,
}

/// What makes replicas useless to a client, until somebody does something about it. Whoever says so
/// may be lying, though.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Obstacle {
    /// The caller: the view is not the current one.
    #[error("are in another view: go on with the current one (`update_view`)")]
    View,
    /// The caller: the view is of another service.
    #[error("belong to another service: take the view of yours")]
    Service,
    /// The replicas or this client are out of date.
    #[error("speak another version of the protocol: update this client or them")]
    Version,
    /// The caller's view is wrong, or somebody is in the replicas' place.
    #[error("do not prove the keys in the view: is it theirs, or somebody in their place?")]
    Key,
}

impl Obstacle {
    /// What went wrong, in one word.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::View | Self::Service => Code::View,
            Self::Version => Code::Protocol,
            Self::Key => Code::Auth,
        }
    }

    fn of(replica: &ReplicaInfo) -> Option<Self> {
        match replica.refused {
            Some(HelloRefusal::View(_)) => Some(Self::View),
            Some(HelloRefusal::Service(_)) => Some(Self::Service),
            Some(HelloRefusal::Version(_)) => Some(Self::Version),
            Some(HelloRefusal::Key) => Some(Self::Key),
            Some(HelloRefusal::Busy) | None => {
                let reason = replica.suspect.map(|suspicion| suspicion.reason);
                (reason == Some(SuspectReason::BadAuth)).then_some(Self::Key)
            }
        }
    }
}

impl NoQuorum {
    pub(crate) fn of(status: &Status) -> Self {
        let missing = || status.replicas.iter().filter(|it| it.state != LinkState::Open);
        let found: Vec<Obstacle> = missing().filter_map(Obstacle::of).collect();
        let most = |obstacle: &Obstacle| found.iter().filter(|other| *other == obstacle).count();
        let in_vain = status.n - found.len() < status.needed;
        Self {
            connected: status.connected,
            needed: status.needed,
            unreachable: missing().map(|replica| replica.url.clone()).collect(),
            obstacle: found.iter().copied().max_by_key(most).filter(|_| in_vain),
        }
    }

    /// What went wrong, in one word: that of the obstacle where there is one, otherwise
    /// [`Code::Offline`] where no replica is connected.
    #[must_use]
    pub const fn code(&self) -> Code {
        if let Some(obstacle) = self.obstacle {
            obstacle.code()
        } else if self.connected == 0 {
            Code::Offline
        } else {
            Code::NoQuorum
        }
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
    /// There is no quorum, and the call was not to wait for one
    /// ([`Offline::Fail`](crate::Offline::Fail)).
    #[error(transparent)]
    Offline(NoQuorum),
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
    /// The client has gone on to another view while the operation was under way.
    #[error("the view has changed while the call was under way")]
    ViewChanged {
        /// Could the replicas of the view before have executed it?
        outcome: Outcome,
        /// Who said what up to then.
        evidence: Evidence,
    },
    /// We failed: the client's thread is gone.
    #[error("the client has ended unexpectedly")]
    Lost,
}

impl CallError {
    /// What went wrong, in one word.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Invalid(InvokeError::QueueFull(_)) => Code::QueueFull,
            Self::Invalid(InvokeError::Closed) | Self::Lost => Code::Closed,
            Self::Invalid(
                InvokeError::PayloadTooLarge(_)
                | InvokeError::AnnouncementTooLarge(_)
                | InvokeError::NoSubscription
                | InvokeError::AlreadySubscribed,
            )
            | Self::Topic(_) => Code::Input,
            Self::Offline(NoQuorum { obstacle: Some(obstacle), .. }) => obstacle.code(),
            Self::Offline(_) => Code::Offline,
            Self::ViewChanged { .. } => Code::View,
            Self::Failed { error, .. } => match error {
                ProtocolCallError::Timeout => Code::Timeout,
                ProtocolCallError::NoQuorum => Code::NoQuorum,
                ProtocolCallError::SessionExpired => Code::Expired,
                ProtocolCallError::Refused(_) | ProtocolCallError::TooManySubscriptions => {
                    Code::Refused
                }
                ProtocolCallError::Faulted => Code::Fault,
                ProtocolCallError::TooLarge => Code::TooLarge,
                ProtocolCallError::Forgotten => Code::Forgotten,
                ProtocolCallError::Incompatible => Code::Protocol,
                ProtocolCallError::Cancelled => Code::Aborted,
                ProtocolCallError::Closed => Code::Closed,
            },
        }
    }

    /// May the same call, unchanged, succeed later? Where [`CallError::outcome`] is
    /// [`Outcome::Unknown`] it may then be executed twice: retry only what may be.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }

    /// Could the replicas have executed the call?
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Invalid(_) | Self::Topic(_) | Self::Offline(_) => Outcome::NotSent,
            Self::Failed { outcome, .. } | Self::ViewChanged { outcome, .. } => *outcome,
            // The thread is gone and with it the knowledge of what it had sent.
            Self::Lost => Outcome::Unknown,
        }
    }

    /// Who said what, where replicas were asked.
    #[must_use]
    pub const fn quorum(&self) -> Option<&Evidence> {
        match self {
            Self::Failed { evidence, .. } | Self::ViewChanged { evidence, .. } => Some(evidence),
            _ => None,
        }
    }
}

/// Why a subscription ended without having been dropped.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SubscriptionError {
    /// The caller: events were not taken out in time.
    #[error("the subscriber is too slow: {0} events are waiting to be taken")]
    Lagged(usize),
    /// The service: an event is not what the application expects.
    #[error("event {number} cannot be read: {reason}")]
    Decode {
        /// The event's number.
        number: u64,
        /// What is wrong with it.
        reason: String,
        /// Who published it.
        evidence: Evidence,
    },
    /// The subscription was refused or lost.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl SubscriptionError {
    /// What went wrong, in one word.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Lagged(_) => Code::Overflow,
            Self::Decode { .. } => Code::Decode,
            Self::Call(error) => error.code(),
        }
    }

    /// May subscribing again succeed?
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }

    /// Could the replicas have executed the subscribing?
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Lagged(_) | Self::Decode { .. } => Outcome::Executed,
            Self::Call(error) => error.outcome(),
        }
    }

    /// Who said what, where replicas were asked.
    #[must_use]
    pub const fn quorum(&self) -> Option<&Evidence> {
        match self {
            Self::Lagged(_) => None,
            Self::Decode { evidence, .. } => Some(evidence),
            Self::Call(error) => error.quorum(),
        }
    }
}
