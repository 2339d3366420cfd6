//! Book-keeping of vouches: pending new sessions by voucher, and what is still to be sent.

use std::collections::{BTreeMap, BTreeSet};

use crate::membership::ClientId;
use crate::time::UnixMicros;
use crate::wire::limits::MAX_VOUCHES;
use crate::wire::{SessionKey, Vouch, VouchGroup};

/// The sessions, unknown as yet to the session table, whose number 1 one replica vouches for.
#[derive(Debug, Default)]
pub(super) struct NewSessions {
    born: BTreeMap<SessionKey, UnixMicros>,
    by_birth: BTreeSet<(UnixMicros, SessionKey)>,
    per_client: BTreeMap<ClientId, usize>,
}

impl NewSessions {
    pub(super) fn len(&self) -> usize {
        self.born.len()
    }

    pub(super) fn contains(&self, key: &SessionKey) -> bool {
        self.born.contains_key(key)
    }

    pub(super) fn of_client(&self, client: ClientId) -> usize {
        self.per_client.get(&client).copied().unwrap_or(0)
    }

    pub(super) fn oldest(&self) -> Option<UnixMicros> {
        self.by_birth.first().map(|(born, _)| *born)
    }

    /// Keeps the first birth time claimed for a session.
    pub(super) fn insert(&mut self, born: UnixMicros, key: SessionKey) {
        if self.born.contains_key(&key) {
            return;
        }
        self.born.insert(key, born);
        self.by_birth.insert((born, key));
        *self.per_client.entry(key.client).or_default() += 1;
    }

    pub(super) fn remove(&mut self, key: &SessionKey) {
        if let Some(born) = self.born.remove(key) {
            self.by_birth.remove(&(born, *key));
            if let Some(count) = self.per_client.get_mut(&key.client) {
                *count -= 1;
                if *count == 0 {
                    self.per_client.remove(&key.client);
                }
            }
        }
    }

    /// Removes and gives the sessions born at or before the horizon.
    pub(super) fn expire(&mut self, horizon: UnixMicros) -> Vec<SessionKey> {
        let mut expired = Vec::new();
        while let Some(&(born, key)) = self.by_birth.first() {
            if born > horizon {
                break;
            }
            self.remove(&key);
            expired.push(key);
        }
        expired
    }
}

/// Vouches on their way. All connected peers but the leader have been sent the same, so two
/// lists are enough; a new stream begins with the complete set instead.
#[derive(Debug, Default)]
pub struct Outbox {
    to_leader: Vec<(Vouch, UnixMicros)>,
    to_others: Vec<(Vouch, UnixMicros)>,
}

impl Outbox {
    pub(super) fn push(&mut self, vouch: Vouch, born: UnixMicros) {
        self.to_leader.push((vouch, born));
        self.to_others.push((vouch, born));
    }

    /// Is something waiting for the peers other than the leader?
    #[must_use]
    pub const fn has_others(&self) -> bool {
        !self.to_others.is_empty()
    }

    /// Frames for everybody: whoever leads from now on has been told as a leader or as one of the
    /// others, but not both, so both lists go to all. To say a vouch twice is harmless.
    pub fn take_all(&mut self) -> Vec<Vec<VouchGroup>> {
        let mut frames = self.take_leader();
        frames.append(&mut self.take_others());
        frames
    }

    /// Frames for the leader.
    pub fn take_leader(&mut self) -> Vec<Vec<VouchGroup>> {
        Self::frames(self.to_leader.drain(..))
    }

    /// Frames for the others.
    pub fn take_others(&mut self) -> Vec<Vec<VouchGroup>> {
        Self::frames(self.to_others.drain(..))
    }

    /// Cuts vouches into frames within [`MAX_VOUCHES`].
    pub(super) fn frames(
        vouches: impl Iterator<Item = (Vouch, UnixMicros)>,
    ) -> Vec<Vec<VouchGroup>> {
        let mut vouches = vouches.peekable();
        let mut frames = Vec::new();
        while vouches.peek().is_some() {
            frames.push(VouchGroup::gather(vouches.by_ref().take(MAX_VOUCHES)));
        }
        frames
    }
}
