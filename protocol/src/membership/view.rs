//! A view: the members of the replica group and everything needed to talk to them.

use serde::{Deserialize, Serialize};

use super::id::{Cid, Digest, Regency, ReplicaId, ServiceId, ViewNumber};
use super::quorum::{QuorumError, Quorums};
use super::replica_set::ReplicaSet;

/// The MAC on client links (DESIGN: the view says which).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MacAlgorithm {
    /// HMAC-SHA-256, 32-byte tags.
    #[default]
    HmacSha256,
    /// HMAC-SHA-1, 20-byte tags, as in the paper (3.1).
    HmacSha1,
}

/// A member of a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Member {
    /// Its id, unique within the service for all time.
    pub id: ReplicaId,
    /// Where clients reach it: a `ws://` or `wss://` URL.
    pub url: String,
    /// Where its peers reach it: `host:port`. Clients ignore it, and it may be left out for them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub peer_address: String,
    /// Its Ed25519 public key: signs ACCEPTs and authenticates links between replicas.
    pub public_key: Digest,
    /// Its static X25519 public key: authenticates it to clients in the Noise handshake.
    pub noise_key: Digest,
}

/// Members, fault threshold and place in the chain of views.
///
/// As JSON this is what `webbft init` writes and what a web page is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct View {
    /// The service.
    pub service: ServiceId,
    /// This view's number.
    pub number: ViewNumber,
    /// How many faulty members are tolerated.
    pub f: usize,
    /// The MAC on client links.
    #[serde(default)]
    pub mac: MacAlgorithm,
    /// The first instance that this view orders.
    #[serde(default = "first_cid")]
    pub activation: Cid,
    /// The digest of the previous view; all zero for the genesis view.
    #[serde(default)]
    pub previous: Digest,
    /// The members, ascending by id.
    pub members: Vec<Member>,
}

fn first_cid() -> Cid {
    Cid(1)
}

/// What is wrong with a view that was read from a file, a page or the network: invalid input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// The numbers do not fit.
    #[error(transparent)]
    Quorum(#[from] QuorumError),
    /// More members than [`ReplicaSet::CAPACITY`].
    #[error("{0} members; at most 64 are supported")]
    TooMany(usize),
    /// Ids are not strictly ascending.
    #[error("members must be listed in ascending order of id, each id once; {0} is out of order")]
    Order(ReplicaId),
    /// Two members share a key.
    #[error("members {0} and {1} have the same key; each replica needs keys of its own")]
    SharedKey(ReplicaId, ReplicaId),
    /// The client URL is not a WebSocket URL.
    #[error("member {id}: url {url:?} must begin with ws:// or wss://")]
    Url {
        /// The member.
        id: ReplicaId,
        /// What it has for a URL.
        url: String,
    },
}

impl View {
    /// Checks what the type alone does not say. Everything else assumes a validated view.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn validate(&self) -> Result<(), ViewError> {
        Quorums::new(self.members.len(), self.f)?;
        if self.members.len() > ReplicaSet::CAPACITY {
            return Err(ViewError::TooMany(self.members.len()));
        }
        for pair in self.members.windows(2) {
            if pair[0].id >= pair[1].id {
                return Err(ViewError::Order(pair[1].id));
            }
        }
        for (index, member) in self.members.iter().enumerate() {
            if !member.url.starts_with("ws://") && !member.url.starts_with("wss://") {
                return Err(ViewError::Url { id: member.id, url: member.url.clone() });
            }
            for other in &self.members[..index] {
                if other.public_key == member.public_key || other.noise_key == member.noise_key {
                    return Err(ViewError::SharedKey(other.id, member.id));
                }
            }
        }
        Ok(())
    }

    /// The number of members.
    #[must_use]
    pub fn n(&self) -> usize {
        self.members.len()
    }

    /// The quorum sizes of this view.
    ///
    /// # Panics
    /// Where the view was never validated.
    #[must_use]
    pub fn quorums(&self) -> Quorums {
        Quorums::new(self.members.len(), self.f).expect("a validated view")
    }

    /// The position of a replica in this view.
    #[must_use]
    pub fn index_of(&self, id: ReplicaId) -> Option<usize> {
        self.members.binary_search_by_key(&id, |member| member.id).ok()
    }

    /// The position of a regency's leader: `regency mod n`.
    #[must_use]
    pub fn leader(&self, regency: Regency) -> usize {
        regency.0 as usize % self.members.len()
    }

    /// All positions.
    #[must_use]
    pub fn everyone(&self) -> ReplicaSet {
        ReplicaSet::first(self.members.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn view(n: u16, f: usize) -> View {
        View {
            service: ServiceId([7; 16]),
            number: ViewNumber(0),
            f,
            mac: MacAlgorithm::HmacSha256,
            activation: Cid(1),
            previous: Digest::default(),
            members: (0..n)
                .map(|id| Member {
                    id: ReplicaId(id),
                    url: format!("ws://127.0.0.1:{}", 7000 + id),
                    peer_address: format!("127.0.0.1:{}", 8000 + id),
                    public_key: Digest::of(&[0, id.to_le_bytes()[0]]),
                    noise_key: Digest::of(&[1, id.to_le_bytes()[0]]),
                })
                .collect(),
        }
    }

    #[test]
    fn a_view_survives_json() {
        let view = view(4, 1);
        let json = serde_json::to_string(&view).unwrap();
        assert_eq!(serde_json::from_str::<View>(&json).unwrap(), view);
        assert_eq!(view.validate(), Ok(()));
    }

    #[test]
    fn refusals_name_the_member() {
        let mut shared = view(4, 1);
        shared.members[3].noise_key = shared.members[1].noise_key;
        assert_eq!(shared.validate(), Err(ViewError::SharedKey(ReplicaId(1), ReplicaId(3))));

        let mut order = view(4, 1);
        order.members.swap(1, 2);
        assert_eq!(order.validate(), Err(ViewError::Order(ReplicaId(1))));

        let mut url = view(4, 1);
        url.members[2].url = "http://x".to_owned();
        assert_eq!(
            url.validate(),
            Err(ViewError::Url { id: ReplicaId(2), url: "http://x".to_owned() })
        );
        assert_eq!(
            view(4, 2).validate(),
            Err(ViewError::Quorum(QuorumError::TooFew { n: 4, f: 2 }))
        );
        assert_eq!(view(65, 1).validate(), Err(ViewError::TooMany(65)));
    }

    #[test]
    fn the_leader_rotates_by_position() {
        let view = view(4, 1);
        assert_eq!([0, 1, 4, 7].map(|r| view.leader(Regency(r))), [0, 1, 0, 3]);
    }
}
