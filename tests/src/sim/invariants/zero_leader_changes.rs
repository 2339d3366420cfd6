//! While the leader of regency 0 is correct and links deliver, no behaviour of clients, and none of
//! the other replicas, makes a correct replica suspect the leader, let alone follow another one.

use super::Invariant;
use crate::sim::history::{Fact, Setting};
use crate::sim::service::Executed;

/// See the module.
#[derive(Debug, Default)]
pub struct ZeroLeaderChanges;

impl Invariant for ZeroLeaderChanges {
    fn name(&self) -> &'static str {
        "zero_leader_changes"
    }

    fn check(&mut self, fact: &Fact, _: &[Executed], setting: &Setting) -> Result<(), String> {
        if setting.leader_may_be_suspected {
            return Ok(());
        }
        match fact {
            Fact::LeaderSuspected { replica } => {
                Err(format!("replica {replica} suspects the correct leader"))
            }
            Fact::RegencyInstalled { replica, regency } => {
                Err(format!("replica {replica} has installed regency {regency}"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use webbft_protocol::membership::Regency;

    use super::super::testing::setting;
    use super::*;

    #[test]
    fn only_where_links_deliver() {
        let check = |leader_may_be_suspected, fact: &Fact| {
            let setting = Setting { leader_may_be_suspected, ..setting() };
            ZeroLeaderChanges.check(fact, &[], &setting).is_ok()
        };
        let suspected = Fact::LeaderSuspected { replica: 1 };
        let installed = Fact::RegencyInstalled { replica: 1, regency: Regency(1) };
        assert_eq!([check(false, &suspected), check(true, &suspected)], [false, true]);
        assert_eq!([check(false, &installed), check(true, &installed)], [false, true]);
    }
}
