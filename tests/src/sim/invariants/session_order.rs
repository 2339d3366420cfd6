//! A session's operations are executed in the order in which the client numbered them, and the
//! numbers of a Byzantine client's session without holes.

use std::collections::BTreeMap;

use webbft_protocol::membership::ClientId;

use super::Invariant;
use crate::sim::history::{Fact, Setting};
use crate::sim::service::{Executed, Op};

/// Authors from here on are Byzantine clients, whose tags carry the numbers on the wire.
pub const FIRST_ATTACKER: u32 = 1000;

/// See the module.
#[derive(Debug, Default)]
pub struct SessionOrder {
    last: BTreeMap<(usize, ClientId, u32, u32), u64>,
}

impl Invariant for SessionOrder {
    fn name(&self) -> &'static str {
        "session_order"
    }

    fn check(&mut self, fact: &Fact, _: &[Executed], _: &Setting) -> Result<(), String> {
        if let Fact::Restarted { replica, .. } = fact {
            self.last.retain(|(other, ..), _| other != replica);
        }
        let Fact::Executed { replica, entry, .. } = fact else { return Ok(()) };
        let Some(Op { tag, .. }) = Op::decode(&entry.payload) else { return Ok(()) };
        let key = (*replica, entry.client, tag.author, tag.session);
        let last = self.last.entry(key).or_insert(0);
        if tag.number <= *last {
            return Err(format!(
                "replica {replica} executed number {} of author {} after {last}",
                tag.number, tag.author
            ));
        }
        if tag.author >= FIRST_ATTACKER && tag.number != *last + 1 {
            return Err(format!(
                "replica {replica} executed number {} of attacker {} right after {last}",
                tag.number, tag.author
            ));
        }
        *last = tag.number;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{entry, executed, payload, setting};
    use super::*;
    use crate::sim::service::Action;

    #[test]
    fn disorder_and_holes_are_found() {
        let mut order = SessionOrder::default();
        let mut check = |author, number| {
            let entry = entry(1, payload(author, number, 0, Action::Panic), b"");
            order.check(&executed(0, 0, entry), &[], &setting()).is_ok()
        };
        // A correct client's tags may skip: operations that panic leave no entry.
        assert!(check(0, 1) && check(0, 3));
        assert!(!check(0, 2));
        assert!(check(FIRST_ATTACKER, 1) && check(FIRST_ATTACKER, 2));
        assert!(!check(FIRST_ATTACKER, 4));
    }
}
