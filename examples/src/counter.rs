//! A counter: the smallest complete service.
//!
//! | operation | result |
//! |---|---|
//! | `{"op":"add","by":2}` | `{"value":2}` |
//! | `{"op":"get"}` (also a query) | `{"value":2}` |
//!
//! Each change is published on the topic `counter` as `{"value":2}`.

use serde::{Deserialize, Serialize};
use webbft_protocol::execution::{Context, JsonService, RestoreError};
use webbft_protocol::membership::Cid;
use webbft_protocol::wire;

/// The topic of all changes.
pub const TOPIC: &str = "counter";

/// The largest value, and the negated smallest one: beyond it a JavaScript number is inexact.
pub const MAX: i64 = (1 << 53) - 1;

/// The state: all of it, and the same at every correct replica.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    value: i64,
    /// The instance of the last change, for [`JsonService::query`].
    changed: Cid,
}

/// What a client may ask for in the total order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(tag = "op", rename_all = "camelCase", deny_unknown_fields)]
pub enum Operation {
    /// Adds `by`, which may be negative.
    Add {
        /// How much.
        by: i64,
    },
    /// Reads the value in the total order.
    Get {},
}

/// What a client may read without ordering.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(tag = "op", rename_all = "camelCase", deny_unknown_fields)]
pub enum Query {
    /// Reads the value.
    Get {},
}

/// The result of everything, and the event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Value {
    /// The counter's value.
    pub value: i64,
}

/// An operation that cannot be done in this state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "CounterError"))]
#[serde(tag = "code", rename_all = "camelCase")]
pub enum Error {
    /// The sum would leave [`MAX`]; nothing was changed.
    Overflow {
        /// The value, unchanged.
        value: i64,
        /// In words.
        message: String,
    },
}

impl JsonService for Counter {
    type Operation = Operation;
    type Query = Query;
    type Reply = Value;
    type Error = Error;

    fn execute(&mut self, operation: Operation, context: &mut Context<'_>) -> Result<Value, Error> {
        if let Operation::Add { by } = operation {
            let sum = self.value.checked_add(by).filter(|sum| (-MAX..=MAX).contains(sum));
            self.value = sum.ok_or_else(|| Error::Overflow {
                value: self.value,
                message: format!("the value is {}; it cannot go beyond ±{MAX}", self.value),
            })?;
            self.changed = context.cid;
            context.publish(TOPIC, format!(r#"{{"value":{}}}"#, self.value));
        }
        Ok(Value { value: self.value })
    }

    fn query(&self, Query::Get {}: Query) -> (Result<Value, Error>, Option<Cid>) {
        (Ok(Value { value: self.value }), Some(self.changed))
    }

    fn snapshot(&self) -> Vec<u8> {
        wire::encode(self)
    }

    fn restore(snapshot: &[u8]) -> Result<Self, RestoreError> {
        wire::decode(snapshot).map_err(|error| RestoreError(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use webbft_protocol::execution::{Answer, Json, Service};

    use super::*;
    use crate::testing::{Ran, run};

    #[test]
    fn adds_publishes_and_reads() {
        let mut counter = Json::<Counter>::default();
        assert_eq!(
            run(&mut counter, 1, r#"{"op":"add","by":5}"#),
            Ran {
                result: r#"{"ok":{"value":5}}"#.into(),
                events: vec![("counter".into(), r#"{"value":5}"#.into())]
            }
        );
        assert_eq!(
            run(&mut counter, 2, r#"{"op":"add","by":-7}"#),
            Ran {
                result: r#"{"ok":{"value":-2}}"#.into(),
                events: vec![("counter".into(), r#"{"value":-2}"#.into())]
            }
        );
        assert_eq!(
            run(&mut counter, 3, r#"{"op":"get"}"#),
            Ran { result: r#"{"ok":{"value":-2}}"#.into(), events: vec![] }
        );
        // Instance 3 only read: the answer holds since instance 2.
        assert_eq!(
            counter.query(br#"{"op":"get"}"#),
            Answer { result: br#"{"ok":{"value":-2}}"#.to_vec(), as_of: Some(Cid(2)) }
        );
    }

    #[test]
    fn an_overflow_is_an_error_that_changes_nothing() {
        let mut counter = Json(Counter { value: MAX - 1, changed: Cid(4) });
        let before = counter.0.clone();
        for by in ["2", "9223372036854775807"] {
            assert_eq!(
                run(&mut counter, 5, &format!(r#"{{"op":"add","by":{by}}}"#)),
                Ran {
                    result: concat!(
                        r#"{"error":{"code":"overflow","value":9007199254740990,"message":"#,
                        r#""the value is 9007199254740990; it cannot go beyond ±9007199254740991"}}"#
                    )
                    .into(),
                    events: vec![]
                }
            );
            assert_eq!(counter.0, before);
        }
    }

    #[test]
    fn malformed_operations_are_refused() {
        for operation in [
            &b"{"[..],
            br#"{"op":"sub","by":1}"#,
            br#"{"op":"add"}"#,
            br#"{"op":"add","by":1.5}"#,
            br#"{"op":"add","by":1,"too":2}"#,
            b"\xff",
        ] {
            assert!(Json::<Counter>::admit(operation).is_err(), "{operation:?}");
        }
        assert_eq!(Json::<Counter>::admit(br#"{"op":"get"}"#), Ok(()));
    }

    #[test]
    fn snapshot_and_restore() {
        let counter = Counter { value: -3, changed: Cid(9) };
        assert_eq!(Counter::restore(&counter.snapshot()), Ok(counter.clone()));
        let damaged = [&counter.snapshot()[..], b"x"].concat();
        assert_eq!(
            Counter::restore(&damaged),
            Err(RestoreError("1 bytes follow the message".into()))
        );
    }
}
