//! No operation is executed twice, and of several bodies under one number at most one is.

use std::collections::BTreeMap;

use webbft_protocol::membership::{Cid, ClientId};

use super::Invariant;
use crate::sim::history::{Fact, Setting};
use crate::sim::service::{Executed, Op};

/// See the module.
#[derive(Debug, Default)]
pub struct ExactlyOnce {
    /// Per replica: client, author, session, number → instance.
    seen: BTreeMap<(usize, ClientId, u32, u32, u64), Cid>,
}

impl Invariant for ExactlyOnce {
    fn name(&self) -> &'static str {
        "exactly_once"
    }

    fn check(&mut self, fact: &Fact, _: &[Executed], _: &Setting) -> Result<(), String> {
        if let Fact::Restarted { replica, .. } = fact {
            self.seen.retain(|(other, ..), _| other != replica);
        }
        let Fact::Executed { replica, entry, .. } = fact else { return Ok(()) };
        let Some(Op { tag, .. }) = Op::decode(&entry.payload) else {
            return Err(format!("replica {replica} executed bytes that are no operation"));
        };
        let key = (*replica, entry.client, tag.author, tag.session, tag.number);
        match self.seen.insert(key, entry.cid) {
            None => Ok(()),
            Some(before) => Err(format!(
                "replica {replica} executed {tag:?} of {:?} in instances {before} and {}",
                entry.client, entry.cid
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{entry, executed, payload, setting};
    use super::*;
    use crate::sim::service::Action;

    #[test]
    fn twice_and_two_bodies_are_found() {
        let mut once = ExactlyOnce::default();
        let mut check = |fact: Fact| once.check(&fact, &[], &setting()).is_ok();
        let op = |number, variant| entry(1, payload(0, number, variant, Action::Panic), b"");
        assert!(check(executed(0, 0, op(1, 0))));
        assert!(check(executed(1, 0, op(1, 0))));
        assert!(!check(executed(0, 1, op(1, 0))));
        assert!(check(executed(0, 2, op(2, 0))));
        assert!(!check(executed(0, 3, op(2, 1))));
    }
}
