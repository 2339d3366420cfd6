//! Correct replicas decide the same batches, execute the same operations in the same order with
//! the same results, and are in the same state after the same instance.

use std::collections::BTreeMap;

use webbft_protocol::membership::{Cid, Digest};

use super::Invariant;
use crate::sim::history::{Fact, Setting};
use crate::sim::service::Executed;

/// See the module.
#[derive(Debug, Default)]
pub struct Agreement {
    decided: BTreeMap<Cid, (usize, Digest)>,
    states: BTreeMap<Cid, (usize, Digest)>,
    last: BTreeMap<usize, Cid>,
}

impl Agreement {
    fn compare(&mut self, replica: usize, cid: Cid, hash: Digest) -> Result<(), String> {
        let (first, other) = *self.decided.entry(cid).or_insert((replica, hash));
        if other == hash {
            Ok(())
        } else {
            Err(format!(
                "instance {cid}: replica {first} decided {other:?}, replica {replica} {hash:?}"
            ))
        }
    }
}

impl Invariant for Agreement {
    fn name(&self) -> &'static str {
        "agreement"
    }

    fn check(&mut self, fact: &Fact, log: &[Executed], _: &Setting) -> Result<(), String> {
        match fact {
            Fact::Decided { replica, cid, hash } => {
                let last = self.last.insert(*replica, *cid);
                if let Some(last) = last
                    && cid.0 != last.0 + 1
                {
                    return Err(format!("replica {replica} decided {cid} after {last}"));
                }
                self.compare(*replica, *cid, *hash)?;
            }
            Fact::Transferred { replica, cid, hash } => {
                self.last.insert(*replica, *cid);
                self.compare(*replica, *cid, *hash)?;
            }
            // It goes on where its log ends, or begins anew.
            Fact::Restarted { replica, .. } => drop(self.last.remove(replica)),
            Fact::Executed { replica, place, entry } => match log.get(*place) {
                Some(agreed) if agreed == entry => {}
                Some(agreed) => {
                    return Err(format!(
                        "place {place}: replica {replica} executed {entry:?}, another {agreed:?}"
                    ));
                }
                None => return Err(format!("replica {replica} left a hole before {place}")),
            },
            Fact::State { replica, cid, digest } => {
                let (first, other) = *self.states.entry(*cid).or_insert((*replica, *digest));
                if other != *digest {
                    return Err(format!(
                        "after instance {cid} replicas {first} and {replica} differ in state"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{entry, executed, payload, setting};
    use super::*;
    use crate::sim::service::Action;

    #[test]
    fn differing_decisions_logs_and_states_are_found() {
        let mut agreement = Agreement::default();
        let a = entry(1, payload(0, 1, 0, Action::Panic), b"a");
        let b = entry(1, payload(0, 1, 0, Action::Panic), b"b");
        let log = [a.clone()];
        let mut check = |fact: Fact| agreement.check(&fact, &log, &setting()).is_ok();
        let hash = Digest::of;
        assert!(check(Fact::Decided { replica: 0, cid: Cid(1), hash: hash(b"x") }));
        assert!(!check(Fact::Decided { replica: 0, cid: Cid(3), hash: hash(b"x") }));
        assert!(check(Fact::Decided { replica: 1, cid: Cid(1), hash: hash(b"x") }));
        assert!(!check(Fact::Decided { replica: 2, cid: Cid(1), hash: hash(b"y") }));
        assert!(check(Fact::Transferred { replica: 2, cid: Cid(1), hash: hash(b"x") }));
        assert!(!check(Fact::Transferred { replica: 2, cid: Cid(1), hash: hash(b"y") }));
        assert!(check(executed(1, 0, a)));
        assert!(!check(executed(2, 0, b)));
        assert!(check(Fact::State { replica: 0, cid: Cid(1), digest: hash(b"s") }));
        assert!(!check(Fact::State { replica: 1, cid: Cid(1), digest: hash(b"t") }));
    }
}
