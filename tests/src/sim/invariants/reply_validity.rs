//! What a correct client is told of an operation is what the correct replicas did: the result,
//! the instance, and, where the call failed, whether it was executed.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use webbft_protocol::client::{CallError, Outcome};

use super::Invariant;
use crate::sim::history::{Fact, Setting};
use crate::sim::service::{Action, Executed, Op};

/// See the module.
#[derive(Debug, Default)]
pub struct ReplyValidity {
    /// Payload → place in the log.
    places: HashMap<Bytes, usize>,
    /// Operations of which a client was told that they will never be executed.
    never: HashSet<Bytes>,
}

impl Invariant for ReplyValidity {
    fn name(&self) -> &'static str {
        "reply_validity"
    }

    fn check(&mut self, fact: &Fact, log: &[Executed], _: &Setting) -> Result<(), String> {
        match fact {
            Fact::Executed { place, entry, .. } => {
                self.places.entry(entry.payload.clone()).or_insert(*place);
                if self.never.contains(&entry.payload) {
                    return Err(format!(
                        "an operation was executed in instance {} although its client had been \
                         told that it would not be",
                        entry.cid
                    ));
                }
            }
            Fact::InvokeDone { author, payload, result, evidence } => {
                let Some(entry) = self.places.get(payload).and_then(|&place| log.get(place)) else {
                    return Err(format!(
                        "client {author} was given a result for {:?}, which no correct replica \
                         has executed",
                        Op::decode(payload)
                    ));
                };
                if entry.result != *result {
                    return Err(format!(
                        "client {author} was given {result:?} where the correct replicas computed \
                         {:?}",
                        entry.result
                    ));
                }
                if evidence.cid != Some(entry.cid) {
                    return Err(format!(
                        "client {author} was told instance {:?} where it was {}",
                        evidence.cid, entry.cid
                    ));
                }
                if evidence.matching.len() < evidence.needed {
                    return Err(format!("client {author} was given a result without a quorum"));
                }
            }
            Fact::InvokeFailed { author, payload, error, outcome } => {
                let executed = self.places.contains_key(payload);
                let panics = matches!(Op::decode(payload), Some(Op { action: Action::Panic, .. }));
                if (*error == CallError::Faulted) != panics
                    && !(panics && matches!(outcome, Outcome::Unknown | Outcome::NotSent))
                {
                    return Err(format!("client {author} was told {error:?} of {payload:?}"));
                }
                match outcome {
                    Outcome::NotSent | Outcome::NotExecuted if executed => {
                        return Err(format!(
                            "client {author} was told {outcome:?} ({error}) of an operation that \
                             was executed"
                        ));
                    }
                    Outcome::NotSent | Outcome::NotExecuted => {
                        self.never.insert(payload.clone());
                    }
                    Outcome::Executed if !executed && !panics => {
                        return Err(format!(
                            "client {author} was told {outcome:?} ({error}) of an operation that \
                             was not executed"
                        ));
                    }
                    Outcome::Executed | Outcome::Unknown => {}
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{entry, evidence, executed, payload, setting};
    use super::*;

    fn op(number: u64) -> Bytes {
        payload(0, number, 0, Action::Add { key: 0, amount: 1 })
    }

    fn done(number: u64, result: &'static [u8], cid: u64) -> Fact {
        let (payload, result) = (op(number), Bytes::from_static(result));
        Fact::InvokeDone { author: 0, payload, result, evidence: evidence(cid) }
    }

    fn failed(number: u64, outcome: Outcome) -> Fact {
        Fact::InvokeFailed { author: 0, payload: op(number), error: CallError::Timeout, outcome }
    }

    #[test]
    fn wrong_results_instances_and_outcomes_are_found() {
        let mut validity = ReplyValidity::default();
        let log = [entry(5, op(1), b"right")];
        let mut check = |fact: &Fact| validity.check(fact, &log, &setting()).is_ok();
        assert!(!check(&done(1, b"right", 5)), "not executed yet");
        assert!(check(&executed(0, 0, log[0].clone())));
        assert!(check(&done(1, b"right", 5)));
        assert!(!check(&done(1, b"wrong", 5)));
        assert!(!check(&done(1, b"right", 6)));
        assert!(!check(&failed(1, Outcome::NotSent)));
        assert!(check(&failed(1, Outcome::Unknown)));
        assert!(!check(&failed(2, Outcome::Executed)));
        assert!(check(&failed(2, Outcome::NotExecuted)));
        assert!(!check(&executed(0, 1, entry(6, op(2), b""))));
    }
}
