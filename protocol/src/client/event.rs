//! What the client tells the application.

use bytes::Bytes;

use crate::membership::{Cid, ClientId, ReplicaSet, ViewNumber};
use crate::wire::{Refusal, Topic, limits};

/// Names a call of one endpoint, and the subscription that a `subscribe` call makes. Ascending,
/// never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Who said what about one call or event. Members are positions in the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// The view that the matching replicas named: the view at execution, or for a fast read
    /// their current one. The client's view where nothing matched.
    pub view: ViewNumber,
    /// How many must match.
    pub needed: usize,
    /// Replicas whose votes agree with the decision, or with the largest group where there was
    /// none.
    pub matching: ReplicaSet,
    /// Replicas that said something else, a refusal included.
    pub differing: ReplicaSet,
    /// Replicas that have said nothing so far.
    pub silent: ReplicaSet,
    /// The instance: that ordered the call, or that published the event, or as of which the read
    /// holds. `None` where nothing was decided.
    pub cid: Option<Cid>,
}

/// What is known about the execution of a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It never left this client: it has not been and will not be executed.
    NotSent,
    /// It may have been executed, or still be.
    Unknown,
    /// It was executed, though its result is not to be had.
    Executed,
    /// f + 1 replicas have refused it for good: it has not been and will not be executed.
    NotExecuted,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Enough replicas were connected, but too few gave matching answers in time.
    #[error("no quorum of matching replies within the timeout")]
    Timeout,
    /// Fewer replicas than needed were connected.
    #[error("fewer replicas than a quorum could be reached within the timeout")]
    NoQuorum,
    /// The replicas no longer know the session; whether the call was executed is unknown.
    #[error("the session has expired; whether the operation was executed is unknown")]
    SessionExpired,
    /// f + 1 replicas refuse the call.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The service failed while executing the operation; its state is as before.
    #[error("the service failed while executing the operation, which was undone")]
    Faulted,
    /// Executed, but the result exceeds the limit.
    #[error("executed, but the result has more than {} bytes", limits::MAX_RESULT)]
    TooLarge,
    /// Executed, but the replicas no longer keep the result.
    #[error("executed, but the replicas no longer keep the result")]
    Forgotten,
    /// The session has as many subscriptions as it may.
    #[error("the session has as many subscriptions as it may have")]
    TooManySubscriptions,
    /// The replicas agreed on a result that does not answer this call: the service's replicas
    /// and this client are incompatible.
    #[error("the replicas agreed on a result that does not answer this call")]
    Incompatible,
    /// Cancelled by the application.
    #[error("cancelled")]
    Cancelled,
    /// The client was closed.
    #[error("the client was closed")]
    Closed,
}

/// Why a call could not be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// `max_pending` calls are unfinished: wait for some.
    #[error("{0} calls are pending already; wait for some of them to finish")]
    QueueFull(usize),
    /// The payload is larger than the replicas accept.
    #[error("the payload has {0} bytes; at most {max} are allowed", max = limits::MAX_PAYLOAD)]
    PayloadTooLarge(usize),
    /// The payload of an announcement is larger than the replicas forward.
    #[error(
        "an announcement has at most {max} bytes; this one has {0}",
        max = limits::MAX_ANNOUNCEMENT
    )]
    AnnouncementTooLarge(usize),
    /// Not a subscription of this client, or one that has ended.
    #[error("there is no such subscription")]
    NoSubscription,
    /// The topic has a subscription already; a second one could not be told from it.
    #[error("the topic is subscribed to already")]
    AlreadySubscribed,
    /// The client was closed.
    #[error("the client was closed")]
    Closed,
}

/// What speaks against a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SuspectReason {
    /// It contradicted what a quorum (f + 1 replicas for an event) agreed on.
    #[error("it contradicted what the other replicas agreed on")]
    Divergent,
    /// A frame on its link had a wrong MAC, or it does not hold the key in the view. Whoever
    /// stands between may be to blame as well.
    #[error("it could not authenticate itself")]
    BadAuth,
    /// It sent something that is not a message of the protocol.
    #[error("it broke the protocol")]
    Protocol,
    /// Its link was open, but it answered none of the last calls.
    #[error("it answered none of the last calls")]
    Silent,
}

/// Something for the application to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientEvent {
    /// A call has its result. For `unsubscribe` it is empty.
    Completed {
        /// The call.
        call: CallId,
        /// What the service returned.
        result: Bytes,
        /// Who said so.
        evidence: Evidence,
    },
    /// A call, or the request to subscribe, came to nothing.
    Failed {
        /// The call.
        call: CallId,
        /// Why.
        error: CallError,
        /// Was it executed?
        outcome: Outcome,
        /// Who said what up to then.
        evidence: Evidence,
    },
    /// A late vote arrived for a call that is completed, or for an event that was delivered: its
    /// evidence is now this.
    Votes {
        /// The call, or the subscription.
        call: CallId,
        /// For an event: its number.
        number: Option<u64>,
        /// Replaces the evidence given before.
        evidence: Evidence,
    },
    /// A subscription is in force.
    Subscribed {
        /// The call, and from now on the subscription.
        subscription: CallId,
        /// The first event will have this number.
        next: u64,
        /// Who said so.
        evidence: Evidence,
    },
    /// An event. A subscription's events come by ascending number, without holes except those
    /// announced by a `Gap`.
    Event {
        /// The subscription.
        subscription: CallId,
        /// The topic.
        topic: Topic,
        /// The event's number in the topic.
        number: u64,
        /// What was published.
        payload: Bytes,
        /// Who said so.
        evidence: Evidence,
    },
    /// Events of a subscription are lost: the replicas keep them no longer.
    Gap {
        /// The subscription.
        subscription: CallId,
        /// The topic.
        topic: Topic,
        /// The first event lost.
        missed_from: u64,
        /// The next event to be delivered.
        next: u64,
    },
    /// Another subscriber of a topic said this in passing, by the word of f + 1 replicas. It is no
    /// part of the total order, and some may be lost.
    Announcement {
        /// The subscription.
        subscription: CallId,
        /// The topic.
        topic: Topic,
        /// Who announced it.
        client: ClientId,
        /// What.
        payload: Bytes,
    },
    /// Something speaks against a replica.
    Suspect {
        /// Its position in the view.
        replica: usize,
        /// What.
        reason: SuspectReason,
        /// The call in question, where there is one.
        call: Option<CallId>,
    },
    /// [`Status`](super::Status) has changed in more than its counters.
    StatusChanged,
}
