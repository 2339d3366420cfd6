//! A frame on a client link that the network damaged, repeated or moved is not taken by whoever
//! receives it (rule L4).

use super::Invariant;
use crate::sim::history::{Fact, Setting};
use crate::sim::service::Executed;

/// See the module.
#[derive(Debug, Default)]
pub struct LinkIntegrity;

impl Invariant for LinkIntegrity {
    fn name(&self) -> &'static str {
        "link_integrity"
    }

    fn check(&mut self, fact: &Fact, _: &[Executed], _: &Setting) -> Result<(), String> {
        match fact {
            Fact::TamperedFrameTaken { by } => {
                Err(format!("{by} took a frame that was tampered with"))
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
    fn any_taken_frame_is_a_violation() {
        let fact = Fact::TamperedFrameTaken { by: "replica 0".into() };
        assert!(LinkIntegrity.check(&fact, &[], &setting()).is_err());
        assert!(LinkIntegrity.check(&Fact::End, &[], &setting()).is_ok());
    }
}
