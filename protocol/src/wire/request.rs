//! A client's request: the byte string that is ordered.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::codec::{DecodeError, decode, encode};
use super::limits::{MAX_PAYLOAD, MAX_TOPIC};
use crate::membership::{ClientId, Digest, ServiceId, SessionId};
use crate::time::UnixMicros;

/// What names a request: a client, one of its sessions, and a number in it, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId {
    /// The client.
    pub client: ClientId,
    /// The session.
    pub session: SessionId,
    /// The number in the session: 1, 2, 3, …
    pub number: u64,
}

impl RequestId {
    /// The session it belongs to.
    #[must_use]
    pub const fn session_key(&self) -> SessionKey {
        SessionKey { client: self.client, session: self.session }
    }
}

/// A session of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionKey {
    /// The client.
    pub client: ClientId,
    /// The session.
    pub session: SessionId,
}

impl SessionKey {
    /// The request with this number.
    #[must_use]
    pub const fn request(self, number: u64) -> RequestId {
        RequestId { client: self.client, session: self.session, number }
    }
}

/// The name of a topic: 1 to [`MAX_TOPIC`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Topic(String);

/// A text that cannot name a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a topic's name has 1 to {MAX_TOPIC} bytes; this one has {0}")]
pub struct TopicError(pub usize);

impl Topic {
    /// The topic of this name.
    ///
    /// # Errors
    /// Where the name is empty or longer than [`MAX_TOPIC`] bytes.
    pub fn new(name: impl Into<String>) -> Result<Self, TopicError> {
        let name = name.into();
        if name.is_empty() || name.len() > MAX_TOPIC {
            return Err(TopicError(name.len()));
        }
        Ok(Self(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Topic {
    type Error = TopicError;
    fn try_from(name: String) -> Result<Self, TopicError> {
        Self::new(name)
    }
}

impl From<Topic> for String {
    fn from(topic: Topic) -> Self {
        topic.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an ordered request asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// An operation of the service.
    Execute(Bytes),
    /// From now on this session receives the topic's events. Result:
    /// [`ExecutionResult::Subscribed`](super::ExecutionResult::Subscribed).
    Subscribe(Topic),
    /// The end of that.
    Unsubscribe(Topic),
    /// Runs a query in the total order: what a fast read falls back to (rule R4).
    Query(Bytes),
}

/// An ordered request. Its encoding is the same at every replica; link fields and MACs are
/// outside it (rule A2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The service it is meant for.
    pub service: ServiceId,
    /// Its name.
    pub id: RequestId,
    /// The session's birth: a time that the client learned from its replicas before number 1
    /// (rule A9). It is judged where the session is not known.
    pub born: UnixMicros,
    /// What it asks for.
    pub operation: Operation,
}

impl Request {
    /// The bytes that are sent, vouched for and ordered.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode(self).into()
    }

    /// Decodes a request and checks its limits.
    ///
    /// # Errors
    /// Where the bytes are not exactly one request, or a field exceeds its limit.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let request: Self = decode(bytes)?;
        match &request.operation {
            Operation::Execute(payload) | Operation::Query(payload)
                if payload.len() > MAX_PAYLOAD =>
            {
                Err(DecodeError::FieldTooLong)
            }
            _ if request.id.number == 0 => Err(DecodeError::Malformed),
            _ => Ok(request),
        }
    }

    /// The digest of an encoded request.
    #[must_use]
    pub fn digest(encoded: &[u8]) -> Digest {
        Digest::of(encoded)
    }
}
