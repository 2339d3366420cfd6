//! What a client is told that another one announced on a topic, that one did announce there; nobody
//! is told anything twice, or hears itself.

use std::collections::BTreeSet;

use bytes::Bytes;
use webbft_protocol::membership::ClientId;

use super::Invariant;
use crate::sim::history::{Author, Fact, Setting};
use crate::sim::service::Executed;

/// See the module.
#[derive(Debug, Default)]
pub struct AnnouncementsGenuine {
    announced: BTreeSet<(ClientId, String, Bytes)>,
    told: BTreeSet<(Author, ClientId, String, Bytes)>,
}

impl Invariant for AnnouncementsGenuine {
    fn name(&self) -> &'static str {
        "announcements_genuine"
    }

    fn check(&mut self, fact: &Fact, _: &[Executed], _: &Setting) -> Result<(), String> {
        match fact {
            Fact::Announced { client, topic, payload } => {
                self.announced.insert((*client, topic.clone(), payload.clone()));
            }
            Fact::Announcement { author, topic, client, payload, .. } => {
                if !self.announced.contains(&(*client, topic.clone(), payload.clone())) {
                    return Err(format!(
                        "client {author} was told that {client} announced {payload:?} on {topic}, \
                         which it did not"
                    ));
                }
                if !self.told.insert((*author, *client, topic.clone(), payload.clone())) {
                    return Err(format!(
                        "client {author} was told twice that {client} announced {payload:?}"
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
    use super::super::testing::setting;
    use super::*;

    const SENDER: ClientId = ClientId([1; 16]);

    fn told(topic: &str, client: ClientId, payload: &'static str) -> Fact {
        let payload = Bytes::from_static(payload.as_bytes());
        Fact::Announcement { author: 0, subscription: 1, topic: topic.into(), client, payload }
    }

    #[test]
    fn forged_and_repeated_announcements_are_found() {
        let mut genuine = AnnouncementsGenuine::default();
        let mut check = |fact: &Fact| genuine.check(fact, &[], &setting()).is_ok();
        let payload = Bytes::from_static(b"here");
        assert!(check(&Fact::Announced { client: SENDER, topic: "t".into(), payload }));
        assert!(!check(&told("t", SENDER, "there")));
        assert!(!check(&told("t", ClientId([2; 16]), "here")));
        assert!(!check(&told("u", SENDER, "here")));
        assert!(check(&told("t", SENDER, "here")));
        assert!(!check(&told("t", SENDER, "here")), "twice");
    }
}
