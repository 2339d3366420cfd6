//! Is a history of calls to a key-value store linearizable? A checker of our own, which shares no
//! code with `protocol/`, with the simulator's invariants or with the service.
//!
//! [`history`] reads and writes histories as JSON lines, [`model`] says what an operation does to
//! one key, [`search`] looks for an order of one key's operations that explains their results, and
//! [`explain`] reduces a history without such an order to what a person needs to see.
//!
//! Linearizability is local: a history is linearizable if and only if the history of each key is
//! (Herlihy and Wing, 1990). Every operation here, `cas` included, reads and writes one key, so
//! keys are checked one by one. An operation on several keys (`list`) has no place in a history.
//!
//! The crates that were looked at (`todc-utils`, the tester of `stateright`, `lincheck`) either
//! know no operations of unknown outcome or try all orders without remembering where they have
//! been.

pub mod explain;
pub mod history;
pub mod model;
pub mod search;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use explain::Violation;
pub use history::{Call, HistoryError, read, write};
pub use model::{Observed, Operation, Value};

/// What the checker says of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order for every key.
    Linearizable,
    /// There is none for this key.
    Violation(Box<Violation>),
    /// The search was given up.
    Undecided {
        /// At this key.
        key: String,
        /// After so many positions.
        positions: usize,
    },
}

/// Checks the calls of one run, key by key, and visits at most `limit` positions of the search for
/// each key.
#[must_use]
pub fn check(calls: &[Call], limit: usize) -> Verdict {
    let mut keys: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    for call in calls {
        keys.entry(call.operation.key()).or_default().push(call);
    }
    let mut undecided = None;
    for (key, calls) in keys {
        match search::find_order(&calls, limit) {
            search::Found::Order => {}
            search::Found::None => {
                return Verdict::Violation(Box::new(explain::explain(key, &calls, limit)));
            }
            search::Found::GaveUp => {
                undecided
                    .get_or_insert(Verdict::Undecided { key: key.to_owned(), positions: limit });
            }
        }
    }
    undecided.unwrap_or(Verdict::Linearizable)
}
