//! The run as a history of calls, for the linearizability checker, which knows nothing else of it.
//!
//! A register is a key to `put` and `cas` (0 is "absent", so setting it to 0 is `delete`), a
//! counter one to `add`, a list one to `append`. What Byzantine clients sent has an unknown
//! outcome, as have calls that timed out. An operation that panics is no call.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use bytes::Bytes;
use webbft_protocol::client::Outcome;

use super::history::{Author, Fact};
use super::invariants::{FIRST_ATTACKER, Violation};
use super::service::{Action, Op, Query};
use crate::linearizability::{Call, Observed, Operation, Value, Verdict, check};

/// Positions that the checker visits for a key before it gives up.
const LIMIT: usize = 20_000;
/// Bytes of an item that name it in the history: items are random.
const NAMED: usize = 16;

/// Collects the calls of a run.
#[derive(Debug, Default)]
pub struct CallHistory {
    calls: Vec<Call>,
    invoked: HashMap<Bytes, usize>,
    reads: HashMap<(Author, u64), usize>,
    /// Calls that never took effect.
    void: HashSet<usize>,
}

impl CallHistory {
    /// Takes down what a fact says of a call.
    pub fn note(&mut self, now: u64, fact: &Fact) {
        match fact {
            Fact::InvokeBegan { author, payload } => {
                self.invoke(now, format!("c{author}"), payload);
            }
            Fact::Sent { payload, .. } => {
                if let Some(author) = Op::decode(payload).map(|op| op.tag.author)
                    && author >= FIRST_ATTACKER
                    && !self.invoked.contains_key(payload)
                {
                    self.invoke(now, format!("a{}", author - FIRST_ATTACKER), payload);
                }
            }
            Fact::InvokeDone { payload, result, .. } => {
                if let Some(&index) = self.invoked.get(payload) {
                    let query = Op::decode(payload).and_then(|op| op.action.changes());
                    self.end(now, index, query.map(|query| value_in(query, result)));
                }
            }
            Fact::InvokeFailed { payload, outcome, .. } => {
                if let Some(&index) = self.invoked.get(payload) {
                    match outcome {
                        Outcome::NotSent | Outcome::NotExecuted => drop(self.void.insert(index)),
                        Outcome::Executed => self.end(now, index, None),
                        Outcome::Unknown => {}
                    }
                }
            }
            Fact::ReadBegan { author, read, query } => {
                self.reads.insert((*author, *read), self.calls.len());
                let operation = Operation::Get { key: key_of(*query) };
                self.begin(now, format!("c{author}"), operation);
            }
            Fact::ReadDone { author, read, query, result, .. } => {
                if let Some(&index) = self.reads.get(&(*author, *read)) {
                    self.end(now, index, Some(value_in(*query, result)));
                }
            }
            _ => {}
        }
    }

    fn invoke(&mut self, now: u64, client: String, payload: &Bytes) {
        if let Some(operation) = Op::decode(payload).and_then(|op| operation_of(op.action)) {
            self.invoked.insert(payload.clone(), self.calls.len());
            self.begin(now, client, operation);
        }
    }

    fn begin(&mut self, invoke: u64, client: String, operation: Operation) {
        self.calls.push(Call { seed: None, client, operation, invoke, ended: None, result: None });
    }

    fn end(&mut self, now: u64, index: usize, value: Option<Value>) {
        self.calls[index].ended = Some(now);
        self.calls[index].result = value.map(Observed::value);
    }

    /// The history, in order of the calls' beginnings.
    #[must_use]
    pub fn finish(self) -> Vec<Call> {
        let void = self.void;
        let calls = self.calls.into_iter().enumerate();
        calls.filter(|(index, _)| !void.contains(index)).map(|(_, call)| call).collect()
    }
}

/// Judges the history of a run: a violation, or that the checker gave up.
pub(super) fn judge(calls: &[Call]) -> Result<Option<Violation>, ()> {
    match check(calls, LIMIT) {
        Verdict::Linearizable => Ok(None),
        Verdict::Violation(violation) => {
            let what = violation.to_string();
            Ok(Some(Violation { invariant: "linearizability", what }))
        }
        Verdict::Undecided { .. } => Err(()),
    }
}

fn key_of(query: Query) -> String {
    match query {
        Query::List(key) => format!("list {key}"),
        Query::Register(key) => format!("register {key}"),
        Query::Counter(key) => format!("counter {key}"),
    }
}

fn operation_of(action: Action) -> Option<Operation> {
    let key = key_of(action.changes()?);
    Some(match action {
        Action::Append { item, .. } => Operation::Append { key, item: name_of(&item) },
        Action::Set { value: 0, .. } => Operation::Delete { key },
        Action::Set { value, .. } => Operation::Put { key, value: value.to_string() },
        Action::Cas { expect, value, .. } => {
            Operation::Cas { key, expect: register(expect.into()), value: value.to_string() }
        }
        Action::Add { amount, .. } => Operation::Add { key, amount: amount.into() },
        Action::Panic => return None,
    })
}

fn register(value: u64) -> Value {
    if value == 0 { Value::Absent } else { Value::text(value.to_string()) }
}

/// The value in a result; where it is none, what no key ever holds.
fn value_in(query: Query, result: &Bytes) -> Value {
    let value = match query {
        Query::Register(_) => postcard::from_bytes(result).ok().map(register),
        Query::Counter(_) => postcard::from_bytes(result).ok().map(|number| match number {
            0 => Value::Absent,
            number => Value::Number(number),
        }),
        Query::List(_) => postcard::from_bytes::<(u64, Vec<Bytes>)>(result).ok().map(list),
    };
    value.unwrap_or_else(|| Value::text(format!("undecodable: {}", name_of(result))))
}

fn list((length, items): (u64, Vec<Bytes>)) -> Value {
    if length == 0 && items.is_empty() {
        return Value::Absent;
    }
    Value::List { length, last: items.iter().map(|item| name_of(item)).collect() }
}

fn name_of(item: &[u8]) -> String {
    let mut name = String::with_capacity(2 * NAMED + 8);
    for byte in item.iter().take(NAMED) {
        let _ = write!(name, "{byte:02x}");
    }
    if item.len() > NAMED {
        let _ = write!(name, " of {}", item.len());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::super::invariants::testing::{evidence, payload};
    use super::*;

    #[test]
    fn facts_become_calls() {
        let mut history = CallHistory::default();
        let set = payload(1, 1, 0, Action::Set { key: 0, value: 2 });
        let cas = payload(1, 2, 0, Action::Cas { key: 0, expect: 0, value: 1 });
        let panic = payload(1, 3, 0, Action::Panic);
        let add = payload(FIRST_ATTACKER, 1, 0, Action::Add { key: 0, amount: 3 });
        let client = webbft_protocol::membership::ClientId([1; 16]);
        for (at, payload) in (1..).zip([&set, &cas, &panic]) {
            history.note(at, &Fact::Sent { client, payload: payload.clone() });
            history.note(at, &Fact::InvokeBegan { author: 1, payload: payload.clone() });
        }
        // Twice the same is one.
        history.note(4, &Fact::Sent { client, payload: add.clone() });
        history.note(5, &Fact::Sent { client, payload: add });
        let query = Query::List(1);
        history.note(6, &Fact::ReadBegan { author: 2, read: 1, query });
        let (result, evidence) = (Bytes::from_static(&[2]), evidence(1));
        history.note(7, &Fact::InvokeDone { author: 1, payload: set, result, evidence });
        let (error, outcome) =
            (webbft_protocol::client::CallError::Cancelled, Outcome::NotExecuted);
        history.note(8, &Fact::InvokeFailed { author: 1, payload: cas, error, outcome });
        let mut result = vec![1, 1, 20];
        result.extend([255; 20]);
        let (result, evidence) =
            (Bytes::from(result), super::super::invariants::testing::evidence(1));
        history.note(9, &Fact::ReadDone { author: 2, read: 1, query, result, evidence });
        let mut text = Vec::new();
        crate::linearizability::write(&mut text, &history.finish()).unwrap();
        let expected = r#"{"client":"c1","op":"put","args":{"key":"register 0","value":"2"},"invoke":1,"return":7,"result":{"value":"2"}}
{"client":"a0","op":"add","args":{"key":"counter 0","amount":3},"invoke":4,"return":null,"result":null}
{"client":"c2","op":"get","args":{"key":"list 1"},"invoke":6,"return":9,"result":{"value":{"length":1,"last":["ffffffffffffffffffffffffffffffff of 20"]}}}
"#;
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}
