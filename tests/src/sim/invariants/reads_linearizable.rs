//! A read returns the value after some prefix of the agreed log: no older than any operation or
//! read on the same key that a correct client had completed before the read began, and no newer
//! than what correct replicas have executed.
//!
//! The total order of the operations is known, so the check is exact: each read, as it completes,
//! is placed at the earliest prefix that fits, which leaves most room for the later ones.

use std::collections::BTreeMap;

use bytes::Bytes;
use webbft_protocol::membership::Cid;

use super::Invariant;
use crate::sim::history::{Author, Fact, Setting};
use crate::sim::service::{Executed, Op, Query};

#[derive(Debug, Default)]
struct Key {
    /// The values that the key has had: the instance that set it, and the answer from then on.
    versions: Vec<(Cid, Bytes)>,
    /// The latest version that a correct client is known to have seen or written.
    floor: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub struct ReadsLinearizable {
    keys: BTreeMap<Query, Key>,
    taken: usize,
    begun: BTreeMap<(Author, u64), usize>,
}

/// The answer before any operation: written out here, not asked of the service.
fn initial(query: Query) -> Bytes {
    match query {
        Query::List(_) => Bytes::from_static(&[0, 0]),
        Query::Register(_) | Query::Counter(_) => Bytes::from_static(&[0]),
    }
}

impl ReadsLinearizable {
    fn key(&mut self, query: Query) -> &mut Key {
        self.keys
            .entry(query)
            .or_insert_with(|| Key { versions: vec![(Cid::ZERO, initial(query))], floor: 0 })
    }

    fn take_in(&mut self, log: &[Executed]) {
        for entry in &log[self.taken..] {
            if let Some(query) = Op::decode(&entry.payload).and_then(|op| op.action.changes()) {
                // An operation's result is the answer to the query about its key.
                let version = (entry.cid, entry.result.clone());
                self.key(query).versions.push(version);
            }
        }
        self.taken = log.len();
    }
}

impl Invariant for ReadsLinearizable {
    fn name(&self) -> &'static str {
        "reads_linearizable"
    }

    fn check(&mut self, fact: &Fact, log: &[Executed], _: &Setting) -> Result<(), String> {
        self.take_in(log);
        match fact {
            Fact::InvokeDone { payload, result, evidence, .. } => {
                let Some(query) = Op::decode(payload).and_then(|op| op.action.changes()) else {
                    return Ok(());
                };
                let key = self.key(query);
                let version = (evidence.cid.unwrap_or_default(), result.clone());
                // Whether the result is right is for `reply_validity` to say.
                if let Some(written) = key.versions.iter().rposition(|other| *other == version) {
                    key.floor = key.floor.max(written);
                }
            }
            Fact::ReadBegan { author, read, query } => {
                let floor = self.key(*query).floor;
                self.begun.insert((*author, *read), floor);
            }
            Fact::ReadDone { author, read, query, result, .. } => {
                let floor = self.begun.remove(&(*author, *read)).unwrap_or(0);
                let key = self.key(*query);
                let found =
                    (floor..key.versions.len()).find(|&version| key.versions[version].1 == *result);
                match found {
                    Some(version) => key.floor = key.floor.max(version),
                    None if key.versions.iter().any(|(_, value)| value == result) => {
                        return Err(format!(
                            "client {author} read a value of {query:?} older than version {floor}"
                        ));
                    }
                    None => {
                        return Err(format!(
                            "client {author} read {result:?}, which {query:?} never was"
                        ));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{entry, evidence, payload, setting};
    use super::*;
    use crate::sim::service::Action;

    fn read(began: bool, read: u64, value: u8) -> Fact {
        let query = Query::Register(0);
        if began {
            return Fact::ReadBegan { author: 0, read, query };
        }
        let result = Bytes::copy_from_slice(&[value]);
        Fact::ReadDone { author: 0, read, query, result, evidence: evidence(0) }
    }

    #[test]
    fn stale_and_invented_values_are_found() {
        let set = |number, value| {
            let action = Action::Set { key: 0, value };
            entry(number, payload(0, number, 0, action), &[value])
        };
        let log = [set(1, 7), set(2, 8), set(3, 7)];
        let mut reads = ReadsLinearizable::default();
        let mut check = |fact: &Fact| reads.check(fact, &log, &setting()).is_ok();
        // Both begin before anything is known: any version will do.
        assert!(check(&read(true, 0, 0)) && check(&read(true, 1, 0)) && check(&read(true, 5, 0)));
        assert!(check(&read(false, 0, 8)));
        assert!(check(&read(false, 1, 0)), "concurrent with the read that saw 8");
        assert!(!check(&read(false, 5, 9)), "never was 9");
        // 7 is right after 8: it was set again.
        assert!(check(&read(true, 2, 0)) && check(&read(false, 2, 7)));
        // 8 is not, after the second 7.
        assert!(check(&read(true, 3, 0)) && !check(&read(false, 3, 8)));
    }

    #[test]
    fn a_completed_write_is_seen() {
        let op = payload(0, 1, 0, Action::Add { key: 0, amount: 3 });
        let log = [entry(1, op.clone(), &[3])];
        let mut reads = ReadsLinearizable::default();
        let mut check = |fact: &Fact| reads.check(fact, &log, &setting()).is_ok();
        let result = Bytes::from_static(&[3]);
        assert!(check(&Fact::InvokeDone { author: 0, payload: op, result, evidence: evidence(1) }));
        let query = Query::Counter(0);
        assert!(check(&Fact::ReadBegan { author: 1, read: 0, query }));
        let result = Bytes::from_static(&[0]);
        assert!(!check(&Fact::ReadDone {
            author: 1,
            read: 0,
            query,
            result,
            evidence: evidence(0)
        }));
    }
}
