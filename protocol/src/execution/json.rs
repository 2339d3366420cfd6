//! Typed services whose operations, queries and results travel as JSON.
//!
//! An operation `{"op": "put", "key": "a", …}` is a Rust enum tagged by `op`. A result is
//! `{"ok": …}` or `{"error": …}`; the TypeScript package reads exactly this.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::service::{Answer, Context, RestoreError, Service};
use crate::membership::{Cid, ClientId};

/// A deterministic service with typed operations; run it as [`Json<S>`].
///
/// Encode results deterministically: `BTreeMap`, not `HashMap`, in anything serialised.
pub trait JsonService: Clone + Send + 'static {
    /// Ordered operations, usually an enum with `#[serde(tag = "op", rename_all = "camelCase")]`.
    type Operation: DeserializeOwned;
    /// Reads; may be the same enum shape.
    type Query: DeserializeOwned;
    /// What operations and queries give.
    type Reply: Serialize;
    /// Errors of the application, part of the agreed result.
    type Error: Serialize;

    /// Judges a well-formed operation from its contents alone (see [`Service::admit`]).
    ///
    /// # Errors
    /// Why the operation can never be executed.
    fn admit(operation: &Self::Operation) -> Result<(), String> {
        let _ = operation;
        Ok(())
    }

    /// Executes an ordered operation (see [`Service::execute`]).
    ///
    /// # Errors
    /// An error of the application; every replica agrees on it as on a result.
    fn execute(
        &mut self,
        operation: Self::Operation,
        context: &mut Context<'_>,
    ) -> Result<Self::Reply, Self::Error>;

    /// Answers a read, with the instance as of which the answer holds (see [`Answer::as_of`]).
    fn query(&self, query: Self::Query) -> (Result<Self::Reply, Self::Error>, Option<Cid>);

    /// May this subscriber see this event (see [`Service::may_see`])?
    fn may_see(subscriber: ClientId, topic: &str, payload: &[u8]) -> bool {
        let _ = (subscriber, topic, payload);
        true
    }

    /// See [`Service::snapshot`].
    fn snapshot(&self) -> Vec<u8>;

    /// See [`Service::restore`].
    ///
    /// # Errors
    /// What is wrong with the snapshot.
    fn restore(snapshot: &[u8]) -> Result<Self, RestoreError>;
}

/// Runs a [`JsonService`] as a [`Service`].
#[derive(Debug, Clone, Default)]
pub struct Json<S>(pub S);

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Envelope<T, E> {
    Ok(T),
    Error(E),
}

fn encode<T: Serialize, E: Serialize>(result: Result<T, E>) -> Vec<u8> {
    let envelope = match result {
        Ok(value) => Envelope::Ok(value),
        Err(error) => Envelope::Error(error),
    };
    serde_json::to_vec(&envelope).expect("a reply type must serialise to JSON")
}

/// The result for bytes that are not a query of this service. Malformed operations never get
/// here, `admit` refuses them; queries are not admitted by anybody.
fn malformed(error: &serde_json::Error) -> Vec<u8> {
    encode::<(), _>(Err(format!("malformed: {error}")))
}

impl<S: JsonService> Service for Json<S> {
    fn admit(operation: &[u8]) -> Result<(), String> {
        let operation = serde_json::from_slice(operation).map_err(|error| error.to_string())?;
        S::admit(&operation)
    }

    fn execute(&mut self, operation: &[u8], context: &mut Context<'_>) -> Vec<u8> {
        match serde_json::from_slice(operation) {
            Ok(operation) => encode(self.0.execute(operation, context)),
            Err(error) => malformed(&error),
        }
    }

    fn query(&self, query: &[u8]) -> Answer {
        match serde_json::from_slice(query) {
            Ok(query) => {
                let (result, as_of) = self.0.query(query);
                Answer { result: encode(result), as_of }
            }
            // Holds whatever the state is, hence as of the beginning.
            Err(error) => Answer { result: malformed(&error), as_of: Some(Cid::ZERO) },
        }
    }

    fn may_see(subscriber: ClientId, topic: &str, payload: &[u8]) -> bool {
        S::may_see(subscriber, topic, payload)
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.snapshot()
    }

    fn restore(snapshot: &[u8]) -> Result<Self, RestoreError> {
        S::restore(snapshot).map(Json)
    }
}
