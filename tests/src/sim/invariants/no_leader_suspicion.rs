//! While the leader is correct and links deliver, no behaviour of clients, and none of the other
//! replicas, makes a correct replica suspect the leader.

use super::Invariant;
use crate::sim::history::{Fact, Setting};
use crate::sim::service::Executed;

/// See the module.
#[derive(Debug, Default)]
pub struct NoLeaderSuspicion;

impl Invariant for NoLeaderSuspicion {
    fn name(&self) -> &'static str {
        "no_leader_suspicion"
    }

    fn check(&mut self, fact: &Fact, _: &[Executed], setting: &Setting) -> Result<(), String> {
        match fact {
            Fact::LeaderSuspected { replica } if !setting.leader_may_be_suspected => {
                Err(format!("replica {replica} suspects the correct leader"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::setting;
    use super::*;

    #[test]
    fn only_where_links_deliver() {
        let check = |leader_may_be_suspected| {
            let setting = Setting { leader_may_be_suspected, ..setting() };
            NoLeaderSuspicion.check(&Fact::LeaderSuspected { replica: 1 }, &[], &setting).is_ok()
        };
        assert_eq!([check(false), check(true)], [false, true]);
    }
}
