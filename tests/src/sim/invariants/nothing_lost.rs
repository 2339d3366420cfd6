//! What was executed anywhere survives everywhere: in the end, after all crashes and restarts, every
//! correct replica's log holds every operation that any correct replica ever executed, and with them
//! every one of which a client was told a result.

use std::collections::BTreeMap;

use super::Invariant;
use crate::sim::history::{Fact, Setting};
use crate::sim::service::Executed;

/// See the module.
#[derive(Debug, Default)]
pub struct NothingLost {
    /// Per replica: how much of the log it has executed in its present life.
    held: BTreeMap<usize, usize>,
}

impl Invariant for NothingLost {
    fn name(&self) -> &'static str {
        "nothing_lost"
    }

    fn check(&mut self, fact: &Fact, log: &[Executed], _: &Setting) -> Result<(), String> {
        match fact {
            Fact::Restarted { replica, .. } => {
                self.held.insert(*replica, 0);
            }
            Fact::Executed { replica, place, .. } => {
                self.held.insert(*replica, place + 1);
            }
            Fact::End => {
                for (replica, held) in &self.held {
                    if *held != log.len() {
                        return Err(format!(
                            "replica {replica} holds {held} operations of {} in the end",
                            log.len()
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
    use super::super::testing::{entry, executed, payload, setting};
    use super::*;
    use crate::sim::service::Action;

    #[test]
    fn a_log_that_ends_early_is_found() {
        let log = [1, 2].map(|number| entry(number, payload(0, number, 0, Action::Panic), b""));
        let ends = |facts: &[Fact]| {
            let mut lost = NothingLost::default();
            for fact in facts {
                lost.check(fact, &log, &setting()).expect("only the end is judged");
            }
            lost.check(&Fact::End, &log, &setting()).is_ok()
        };
        let both = [executed(0, 0, log[0].clone()), executed(0, 1, log[1].clone())];
        let restarted = Fact::Restarted { replica: 0, remembers: true };
        assert!(ends(&both));
        assert!(!ends(&both[..1]));
        let [first, second] = both;
        assert!(!ends(&[first.clone(), second.clone(), restarted.clone(), first.clone()]));
        assert!(ends(&[first.clone(), restarted, first, second]));
    }
}
