//! Messages between clients and replicas.
//!
//! A frame is a small header, an opaque body and a MAC (`auth::link` gives the bytes). The body
//! is hashed once: the MAC covers its digest, and the same digest serves ordering and voting.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::request::{SessionKey, Topic};
use crate::membership::{Cid, Digest, ReplicaId, SessionId, ViewNumber};
use crate::time::UnixMicros;

/// A header, a body, and the body's digest as computed from the bytes received or to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame<H> {
    /// The typed part.
    pub header: H,
    /// The opaque part; its meaning is the header's.
    pub body: Bytes,
    /// SHA-256 of `body`.
    pub body_digest: Digest,
}

impl<H> Frame<H> {
    /// A frame to be sent; hashes the body.
    #[must_use]
    pub fn new(header: H, body: Bytes) -> Self {
        let body_digest = Digest::of(&body);
        Self { header, body, body_digest }
    }

    /// A frame without a body.
    #[must_use]
    pub fn bare(header: H) -> Self {
        Self::new(header, Bytes::new())
    }

    /// A frame whose body's digest is known already.
    #[must_use]
    pub const fn with_digest(header: H, body: Bytes, body_digest: Digest) -> Self {
        Self { header, body, body_digest }
    }
}

/// A frame from a client.
pub type ClientFrame = Frame<ClientHeader>;
/// A frame from a replica.
pub type ReplicaFrame = Frame<ReplicaHeader>;

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientHeader {
    /// Order the request in the body (an encoded [`Request`](super::Request)).
    Request {
        /// Reply with the result itself, not its digest alone.
        full: bool,
    },
    /// Answer the query in the body from the current state (rules R1 to R4).
    Query {
        /// The client's name for this query on this link.
        nonce: u64,
        /// Answer once this instance has been executed.
        min_cid: Cid,
        /// Reply with the result itself, not its digest alone.
        full: bool,
    },
    /// Send this session's events of a topic from number `next` on, on this link.
    Resume {
        /// The session that subscribed.
        session: SessionId,
        /// The topic.
        topic: Topic,
        /// The first event wanted.
        next: u64,
    },
    /// Send the payload of one event in full.
    FetchEvent {
        /// The session that subscribed.
        session: SessionId,
        /// The topic.
        topic: Topic,
        /// The event.
        number: u64,
    },
    /// Answered by [`ReplicaHeader::Pong`].
    Ping {
        /// Repeated in the answer.
        nonce: u64,
    },
    /// Tell the topic's other subscribers what is in the body (rule P5).
    Announce {
        /// The session that subscribed.
        session: SessionId,
        /// The topic.
        topic: Topic,
        /// The announcement's number in the session: later ones are higher.
        number: u64,
    },
}

/// In place of the digest of a payload that the subscriber may not see (rule P6). No payload is known
/// that has it, and to find one is as hard as to find two with the same digest.
pub const WITHHELD: Digest = Digest([0; 32]);

/// What a replica says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplicaHeader {
    /// The result of an ordered request. The body is an encoded [`ExecutionResult`] or empty.
    Reply {
        /// The request's session.
        session: SessionId,
        /// The request's number.
        number: u64,
        /// The view at execution.
        view: ViewNumber,
        /// The instance that ordered it.
        cid: Cid,
        /// Digest of the encoded result.
        digest: Digest,
        /// Is the body the result?
        full: bool,
    },
    /// The answer to a query. The body is the result or empty.
    QueryReply {
        /// The query's nonce.
        nonce: u64,
        /// The replica's view.
        view: ViewNumber,
        /// The instance of the last operation that could have changed the result.
        as_of: Cid,
        /// The last instance executed: what later reads of this client may ask for.
        executed: Cid,
        /// Digest of the result.
        digest: Digest,
        /// Is the body the result?
        full: bool,
    },
    /// An event for a subscriber. The body is its payload or empty.
    Event {
        /// The session that subscribed.
        session: SessionId,
        /// The topic.
        topic: Topic,
        /// The event's number in the topic, from 1.
        number: u64,
        /// The view at execution.
        view: ViewNumber,
        /// The instance that published it.
        cid: Cid,
        /// Digest of the payload; [`WITHHELD`] where the subscriber may not see it.
        digest: Digest,
        /// Is the body the payload?
        full: bool,
    },
    /// The events asked for are no longer kept; the oldest that is has number `first`.
    Gap {
        /// The session that subscribed.
        session: SessionId,
        /// The topic.
        topic: Topic,
        /// The oldest event kept, or the next one to come.
        first: u64,
    },
    /// A request that will not be executed, or not now.
    Refused {
        /// The request's session.
        session: SessionId,
        /// The request's number.
        number: u64,
        /// Digest of the request.
        request: Digest,
        /// Why.
        refusal: Refusal,
    },
    /// A query that will not be answered. The client may ask in order instead.
    QueryRefused {
        /// The query's nonce.
        nonce: u64,
        /// Why.
        refusal: Refusal,
    },
    /// Answers [`ClientHeader::Ping`].
    Pong {
        /// The ping's nonce.
        nonce: u64,
        /// The last executed instance.
        last_cid: Cid,
        /// The replica's clock, or the agreed time where that is later (rule A9).
        time: UnixMicros,
        /// The leader as this replica sees it.
        leader: ReplicaId,
    },
    /// For each subscribed topic of a session the number of its last event, so that a lost last
    /// event is noticed.
    Heads {
        /// The session that subscribed.
        session: SessionId,
        /// Topics and the numbers of their last events.
        heads: Vec<(Topic, u64)>,
    },
    /// What another subscriber of a topic announces, in the body (rule P5).
    Announcement {
        /// The session that subscribed.
        session: SessionId,
        /// The topic.
        topic: Topic,
        /// The session that announces it.
        sender: SessionKey,
        /// Its number in that session.
        number: u64,
    },
}

/// Why a request or query is refused. One replica's word until f + 1 say the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The session is not known any more; earlier copies of the request may have been executed.
    #[error("the session has expired; whether the request was executed is unknown")]
    SessionExpired,
    /// The number is too far beyond the last ordered one (rule A10).
    #[error("too many requests of the session are in flight")]
    Window,
    /// The replica's quota for new sessions is used up.
    #[error("too many new sessions")]
    Sessions,
    /// The replica has already vouched for another request of this number.
    #[error("another request has the same number")]
    Equivocation,
    /// The session's birth time is too far ahead of the replica's clock.
    #[error("the session's birth time lies in the future")]
    BornInFuture,
    /// The service refuses the operation for ever.
    #[error("the service refuses the operation: {0}")]
    Service(String),
    /// Too many queries of this client are waiting.
    #[error("too many queries are waiting")]
    Queries,
    /// The session's number 1 has not arrived here; send the requests again, in order.
    #[error("the session's first request has not arrived")]
    NotBegun,
}

/// The agreed result of an ordered request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecutionResult {
    /// What the service returned.
    Value(Bytes),
    /// The service panicked; its state is as before.
    Faulted,
    /// Subscribed: the next event will have this number.
    Subscribed {
        /// The number of the topic's next event.
        next: u64,
    },
    /// Unsubscribed, or never was.
    Unsubscribed,
    /// Executed, but the result is larger than [`MAX_RESULT`](super::limits::MAX_RESULT).
    TooLarge,
    /// Executed earlier; the result is no longer kept.
    Forgotten,
    /// The session has as many subscriptions as it may.
    TooManySubscriptions,
}
