//! Every executed operation was sent by the client in whose name it was executed, byte for byte.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use webbft_protocol::membership::ClientId;

use super::Invariant;
use crate::sim::history::{Fact, Setting};
use crate::sim::service::Executed;

/// See the module.
#[derive(Debug, Default)]
pub struct NoForgedOperation {
    sent: BTreeMap<ClientId, HashSet<Bytes>>,
}

impl Invariant for NoForgedOperation {
    fn name(&self) -> &'static str {
        "no_forged_operation"
    }

    fn check(&mut self, fact: &Fact, _: &[Executed], _: &Setting) -> Result<(), String> {
        match fact {
            Fact::Sent { client, payload } => {
                self.sent.entry(*client).or_default().insert(payload.clone());
                Ok(())
            }
            Fact::Executed { replica, entry, .. }
                if !self
                    .sent
                    .get(&entry.client)
                    .is_some_and(|sent| sent.contains(&entry.payload)) =>
            {
                Err(format!(
                    "replica {replica} executed in instance {} what client {:?} never sent",
                    entry.cid, entry.client
                ))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{entry, executed, payload, setting};
    use super::*;
    use crate::sim::service::Action;

    #[test]
    fn strange_bytes_and_borrowed_names_are_found() {
        let mut forged = NoForgedOperation::default();
        let mut check = |fact: &Fact| forged.check(fact, &[], &setting()).is_ok();
        let payload = |number| payload(0, number, 0, Action::Panic);
        assert!(check(&Fact::Sent { client: ClientId([1; 16]), payload: payload(1) }));
        assert!(check(&Fact::Sent { client: ClientId([2; 16]), payload: payload(2) }));
        assert!(check(&executed(0, 0, entry(1, payload(1), b""))));
        assert!(!check(&executed(0, 1, entry(1, payload(2), b""))));
        assert!(!check(&executed(0, 1, entry(1, payload(3), b""))));
    }
}
