//! Where replicas keep a log, a correct one says nothing that it could forget: each vote, STOPDATA
//! and SYNC is durable before it leaves, and so is the WRITE that goes with a proposal (rule N4).

use std::collections::BTreeSet;

use super::Invariant;
use crate::sim::history::{Fact, Saying, Setting, Word};
use crate::sim::service::Executed;

/// See the module.
#[derive(Debug, Default)]
pub struct RecordedBeforeSaid {
    recorded: BTreeSet<(usize, Word)>,
}

impl Invariant for RecordedBeforeSaid {
    fn name(&self) -> &'static str {
        "recorded_before_said"
    }

    fn check(&mut self, fact: &Fact, _: &[Executed], setting: &Setting) -> Result<(), String> {
        match fact {
            Fact::Recorded { replica, word } => {
                self.recorded.insert((*replica, *word));
            }
            Fact::Said { replica, word } if setting.recorded => {
                let kind = match word.kind {
                    Saying::Proposes => Saying::Writes,
                    kind => kind,
                };
                if !self.recorded.contains(&(*replica, Word { kind, ..*word })) {
                    return Err(format!("replica {replica} says {word:?}, which it may forget"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{said, setting};
    use super::*;

    #[test]
    fn what_may_be_forgotten_is_found() {
        let setting = Setting { recorded: true, ..setting() };
        let mut recorded = RecordedBeforeSaid::default();
        let mut check = |fact: Fact| recorded.check(&fact, &[], &setting).is_ok();
        assert!(!check(said(0, Saying::Writes, 1, 1, b"a")));
        let Fact::Said { word, .. } = said(0, Saying::Writes, 1, 1, b"a") else { return };
        assert!(check(Fact::Recorded { replica: 0, word }));
        assert!(check(said(0, Saying::Writes, 1, 1, b"a")));
        assert!(check(said(0, Saying::Proposes, 1, 1, b"a")));
        assert!(!check(said(0, Saying::Accepts, 1, 1, b"a")), "another kind");
        assert!(!check(said(1, Saying::Writes, 1, 1, b"a")), "another replica");
        assert!(!check(said(0, Saying::Writes, 1, 1, b"b")), "another hash");
    }
}
