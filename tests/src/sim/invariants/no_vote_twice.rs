//! A correct replica gives its word once: it never sends two different proposals, WRITEs or ACCEPTs
//! for one instance and epoch, nor two different STOPDATAs or SYNCs for one regency, whether it has
//! been started again in between or not.

use std::collections::BTreeMap;

use webbft_protocol::membership::{Cid, Digest, Epoch};

use super::Invariant;
use crate::sim::history::{Fact, Saying, Setting, Word};
use crate::sim::service::Executed;

/// See the module.
#[derive(Debug, Default)]
pub struct NoVoteTwice {
    said: BTreeMap<(usize, Saying, Cid, Epoch), Digest>,
}

impl Invariant for NoVoteTwice {
    fn name(&self) -> &'static str {
        "no_vote_twice"
    }

    fn check(&mut self, fact: &Fact, _: &[Executed], _: &Setting) -> Result<(), String> {
        let Fact::Said { replica, word } = fact else { return Ok(()) };
        let Word { kind, cid, epoch, hash } = *word;
        let before = *self.said.entry((*replica, kind, cid, epoch)).or_insert(hash);
        if before == hash {
            Ok(())
        } else {
            Err(format!(
                "replica {replica} {kind:?} {hash:?} in instance {cid}, epoch {epoch}, after \
                 {before:?}"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{said, setting};
    use super::*;

    #[test]
    fn a_second_word_is_found_across_a_restart() {
        let mut twice = NoVoteTwice::default();
        let mut check = |fact: Fact| twice.check(&fact, &[], &setting()).is_ok();
        assert!(check(said(0, Saying::Writes, 1, 1, b"a")));
        assert!(check(said(0, Saying::Writes, 1, 1, b"a")), "the same again");
        assert!(check(said(0, Saying::Writes, 1, 2, b"b")), "in another epoch");
        assert!(check(said(0, Saying::Accepts, 1, 1, b"b")), "another kind");
        assert!(check(said(1, Saying::Writes, 1, 1, b"b")), "another replica");
        assert!(check(Fact::Restarted { replica: 0, remembers: true }));
        assert!(!check(said(0, Saying::Writes, 1, 1, b"b")));
        assert!(!check(said(0, Saying::Accepts, 1, 1, b"a")));
    }
}
