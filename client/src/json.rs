//! Services that speak JSON: requests `{"op": …, …}`, results `{"ok": …}` or `{"error": …}`.

use std::fmt;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use webbft_protocol::client::{Evidence, Outcome};

use crate::call::{Call, Reply};
use crate::code::Code;
use crate::driver::Kind;
use crate::error::{CallError, SubscriptionError};
use crate::subscription::Subscription;
use crate::{Client, SubscribeOptions};

/// An operation of a service: what is sent, and what comes back.
///
/// It is written as a JSON object with the fields of the type, and its name as `op`.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use webbft_client::Operation;
///
/// #[derive(Serialize)]
/// struct Put<'a> {
///     key: &'a str,
///     value: &'a str,
/// }
///
/// #[derive(Debug, Deserialize)]
/// struct Previous {
///     previous: Option<String>,
/// }
///
/// impl Operation for Put<'_> {
///     const NAME: &'static str = "put";
///     type Reply = Previous;
///     type Error = serde_json::Value;
/// }
/// ```
pub trait Operation: Serialize {
    /// The operation's name, its `op`.
    const NAME: &'static str;
    /// What is in `ok`.
    type Reply: DeserializeOwned;
    /// What is in `error`; [`serde_json::Value`] takes any.
    type Error: DeserializeOwned + fmt::Debug + Unpin;
}

/// Why an [`Operation`] gave no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OperationError<E = serde_json::Value> {
    /// The service executed it and answers with an error, by agreement.
    #[error("the service answers: {error:?}")]
    Service {
        /// The error.
        error: E,
        /// Who said so.
        evidence: Evidence,
    },
    /// The caller: it cannot be written as JSON.
    #[error("the operation {operation} cannot be written as JSON: {reason}")]
    Encode {
        /// Its name.
        operation: &'static str,
        /// Why.
        reason: String,
    },
    /// It was executed, and the agreed result is not what the application expects.
    #[error("the agreed result cannot be read: {reason}")]
    Decode {
        /// Why.
        reason: String,
        /// Who said so.
        evidence: Evidence,
    },
    /// There is no agreed result.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl<E> OperationError<E> {
    /// What went wrong, in one word.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Service { .. } => Code::Service,
            Self::Encode { .. } => Code::Input,
            Self::Decode { .. } => Code::Decode,
            Self::Call(error) => error.code(),
        }
    }

    /// May the same operation, unchanged, succeed later? Where [`OperationError::outcome`] is
    /// [`Outcome::Unknown`] it may then be executed twice: retry only what may be.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }

    /// Could the replicas have executed the operation?
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Service { .. } | Self::Decode { .. } => Outcome::Executed,
            Self::Encode { .. } => Outcome::NotSent,
            Self::Call(error) => error.outcome(),
        }
    }

    /// Who said what, where replicas were asked.
    #[must_use]
    pub const fn quorum(&self) -> Option<&Evidence> {
        match self {
            Self::Service { evidence, .. } | Self::Decode { evidence, .. } => Some(evidence),
            Self::Encode { .. } => None,
            Self::Call(error) => error.quorum(),
        }
    }
}

/// A call of an [`Operation`].
pub type OperationCall<O> = Call<<O as Operation>::Reply, OperationError<<O as Operation>::Error>>;

impl Client {
    /// Invokes an operation in the total order. As [`Client::invoke`], with JSON.
    pub fn call<O: Operation>(&self, operation: &O) -> OperationCall<O> {
        Call::decoded(self, request(operation).map(Kind::Invoke), result)
    }

    /// Asks without ordering; where the replicas' answers do not match, asks in order. As
    /// [`Client::query`], with JSON.
    pub fn call_unordered<O: Operation>(&self, operation: &O) -> OperationCall<O> {
        Call::decoded(self, request(operation).map(Kind::Query), result)
    }

    /// Subscribes to a topic whose events are JSON of type `T`.
    ///
    /// # Errors
    /// As [`Client::subscribe`].
    pub async fn subscribe_json<T: DeserializeOwned>(
        &self,
        topic: impl Into<String>,
        options: SubscribeOptions,
    ) -> Result<Subscription<T>, SubscriptionError> {
        let subscription = self.subscribe_with(topic, options).await?;
        Ok(subscription.decoded(|payload: Bytes| {
            serde_json::from_slice(&payload).map_err(|error| error.to_string())
        }))
    }
}

#[derive(Serialize)]
struct Request<'a, O> {
    op: &'static str,
    #[serde(flatten)]
    fields: &'a O,
}

/// The envelope of every result. An absent `ok` is told from a null one.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Envelope<T, E> {
    Ok(T),
    Error(E),
}

fn request<O: Operation>(operation: &O) -> Result<Bytes, OperationError<O::Error>> {
    serde_json::to_vec(&Request { op: O::NAME, fields: operation })
        .map(Bytes::from)
        .map_err(|error| OperationError::Encode { operation: O::NAME, reason: error.to_string() })
}

fn result<T: DeserializeOwned, E: DeserializeOwned>(
    reply: Reply,
) -> Result<Reply<T>, OperationError<E>> {
    let Reply { result, evidence } = reply;
    match serde_json::from_slice(&result) {
        Ok(Envelope::Ok(result)) => Ok(Reply { result, evidence }),
        Ok(Envelope::Error(error)) => Err(OperationError::Service { error, evidence }),
        Err(error) => Err(OperationError::Decode { reason: error.to_string(), evidence }),
    }
}

#[cfg(test)]
mod tests {
    use webbft_protocol::membership::{ReplicaSet, ViewNumber};

    use super::*;

    #[derive(Serialize)]
    struct Put<'a> {
        key: &'a str,
    }

    impl Operation for Put<'_> {
        const NAME: &'static str = "put";
        type Reply = Option<u32>;
        type Error = String;
    }

    #[derive(Serialize)]
    struct Get {}

    impl Operation for Get {
        const NAME: &'static str = "get";
        type Reply = u32;
        type Error = String;
    }

    #[derive(Serialize)]
    struct Number(u32);

    impl Operation for Number {
        const NAME: &'static str = "number";
        type Reply = u32;
        type Error = String;
    }

    fn evidence() -> Evidence {
        Evidence {
            view: ViewNumber(0),
            needed: 3,
            matching: ReplicaSet::one(0),
            differing: ReplicaSet::EMPTY,
            silent: ReplicaSet::EMPTY,
            cid: None,
        }
    }

    #[test]
    fn requests_are_objects_with_their_name() {
        assert_eq!(request(&Put { key: "a" }).unwrap(), r#"{"op":"put","key":"a"}"#);
        assert_eq!(request(&Get {}).unwrap(), r#"{"op":"get"}"#);
        let error = request(&Number(1)).unwrap_err();
        assert_eq!((error.code(), error.outcome()), (Code::Input, Outcome::NotSent));
    }

    #[test]
    fn results_are_ok_or_error() {
        let read = |result: &'static str| {
            result_of(Reply { result: Bytes::from_static(result.as_bytes()), evidence: evidence() })
        };
        assert_eq!(read(r#"{"ok":1}"#).unwrap(), Some(1));
        assert_eq!(read(r#"{"ok":null}"#).unwrap(), None);
        let error = read(r#"{"error":"full"}"#).unwrap_err();
        assert!(matches!(&error, OperationError::Service { error, .. } if error == "full"));
        assert_eq!((error.code(), error.outcome()), (Code::Service, Outcome::Executed));
        assert_eq!(error.quorum(), Some(&evidence()));
        for wrong in ["", "{}", r#"{"ok":"text"}"#, r#"{"fine":1}"#, "\u{1}"] {
            assert_eq!(read(wrong).unwrap_err().code(), Code::Decode, "{wrong}");
        }
    }

    fn result_of(reply: Reply) -> Result<Option<u32>, OperationError<String>> {
        result(reply).map(|reply| reply.result)
    }
}
