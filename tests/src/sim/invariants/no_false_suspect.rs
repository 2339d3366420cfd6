//! A correct client does not accuse a correct replica of lying. (That one seems silent is no
//! accusation: the network may be to blame.)

use webbft_protocol::client::SuspectReason;

use super::Invariant;
use crate::sim::history::{Fact, Setting};
use crate::sim::service::Executed;

/// See the module.
#[derive(Debug, Default)]
pub struct NoFalseSuspect;

impl Invariant for NoFalseSuspect {
    fn name(&self) -> &'static str {
        "no_false_suspect"
    }

    fn check(&mut self, fact: &Fact, _: &[Executed], setting: &Setting) -> Result<(), String> {
        let Fact::Suspected { author, replica, reason } = fact else { return Ok(()) };
        if setting.byzantine.contains(replica) {
            return Ok(());
        }
        match reason {
            SuspectReason::Silent => Ok(()),
            SuspectReason::BadAuth | SuspectReason::Protocol if setting.tampering => Ok(()),
            _ => Err(format!("client {author} accuses correct replica {replica}: {reason}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::setting;
    use super::*;

    #[test]
    fn correct_replicas_are_not_accused() {
        let check = |replica, reason| {
            let fact = Fact::Suspected { author: 0, replica, reason };
            NoFalseSuspect.check(&fact, &[], &setting()).is_ok()
        };
        assert!(check(3, SuspectReason::Divergent));
        assert!(check(1, SuspectReason::Silent));
        assert!(!check(1, SuspectReason::Divergent));
        assert!(!check(1, SuspectReason::BadAuth));
    }
}
