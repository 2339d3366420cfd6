//! A correct replica's regencies ascend, and once it has installed one it gives its word for nothing
//! of a lower epoch (rule S2). It may repeat what it had said, or recorded, before: that is in its
//! STOPDATA.

use std::collections::{BTreeMap, BTreeSet};

use webbft_protocol::membership::Epoch;

use super::Invariant;
use crate::sim::history::{Fact, Setting, Word};
use crate::sim::service::Executed;

/// See the module.
#[derive(Debug, Default)]
pub struct RegencyOrder {
    /// Per replica: the epoch of the regency installed last.
    installed: BTreeMap<usize, Epoch>,
    known: BTreeSet<(usize, Word)>,
}

impl Invariant for RegencyOrder {
    fn name(&self) -> &'static str {
        "regency_order"
    }

    fn check(&mut self, fact: &Fact, _: &[Executed], _: &Setting) -> Result<(), String> {
        match fact {
            Fact::Restarted { replica, remembers: false } => {
                self.installed.remove(replica);
            }
            Fact::RegencyInstalled { replica, regency } => {
                let epoch = Epoch(regency.0 + 1);
                if let Some(before) = self.installed.insert(*replica, epoch)
                    && before >= epoch
                {
                    return Err(format!(
                        "replica {replica} has installed regency {regency} in epoch {before}"
                    ));
                }
            }
            Fact::Recorded { replica, word } => {
                self.known.insert((*replica, *word));
            }
            Fact::Said { replica, word } => {
                let again = !self.known.insert((*replica, *word));
                let installed = self.installed.get(replica).copied().unwrap_or(Epoch(1));
                if word.epoch < installed && !again {
                    return Err(format!(
                        "replica {replica} says {word:?}, having installed epoch {installed}"
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
    use webbft_protocol::membership::Regency;

    use super::super::testing::{said, setting};
    use super::*;
    use crate::sim::history::Saying;

    #[test]
    fn stale_words_and_regencies_are_found() {
        let mut order = RegencyOrder::default();
        let mut check = |fact: Fact| order.check(&fact, &[], &setting()).is_ok();
        let installed = |regency| Fact::RegencyInstalled { replica: 0, regency: Regency(regency) };
        let writes = |epoch, cid| said(0, Saying::Writes, cid, epoch, b"a");
        assert!(check(writes(1, 1)));
        assert!(check(installed(2)) && check(writes(3, 1)));
        assert!(!check(writes(2, 1)));
        assert!(check(writes(1, 1)), "the same again");
        assert!(!check(installed(2)));
        assert!(check(Fact::Restarted { replica: 0, remembers: true }));
        assert!(!check(writes(1, 2)));
        assert!(check(Fact::Restarted { replica: 0, remembers: false }));
        assert!(check(writes(1, 3)));
    }
}
