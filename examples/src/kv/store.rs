//! The state: what every key holds, and since when.

use std::ops::Bound;
use std::sync::Arc;

use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};
use serde::{Deserialize, Serialize};
use webbft_protocol::membership::Cid;

use super::ENTRY_BYTES;

/// How many deleted keys are remembered with the instance of their deletion.
pub(super) const MAX_DELETED: usize = 10_000;

/// What all keys hold.
///
/// Reads are voted on together with the instance of the key's last change, so a read of one key
/// does not lose its quorum while others are written. A key that was deleted needs that instance
/// too: it might come back. The last [`MAX_DELETED`] deletions are remembered one by one; `older`
/// is the latest instance that was forgotten. A key that is not here at all was therefore last
/// changed at `older` or before, and "absent as of `older`" is a true answer: nothing could have
/// changed it since.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Saved")]
pub(super) struct Store {
    /// Persistent maps: a clone shares everything.
    keys: RedBlackTreeMapSync<Arc<str>, Slot>,
    /// The absent keys among `keys`, the longest deleted first.
    deleted: RedBlackTreeSetSync<(Cid, Arc<str>)>,
    older: Cid,
    last_change: Cid,
    /// Of the present keys, as limited by [`super::MAX_STORE`].
    size: usize,
}

/// A key's value (`None`: deleted) and the instance of its last change.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slot {
    value: Option<Arc<str>>,
    changed: Cid,
}

/// The snapshot: what the rest can be computed from.
#[derive(Deserialize)]
struct Saved {
    /// In order of the keys.
    keys: Vec<(String, Option<String>, Cid)>,
    older: Cid,
    last_change: Cid,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            keys: RedBlackTreeMapSync::new_sync(),
            deleted: RedBlackTreeSetSync::new_sync(),
            older: Cid::ZERO,
            last_change: Cid::ZERO,
            size: 0,
        }
    }
}

fn size(key: &str, value: Option<&str>) -> usize {
    value.map_or(0, |value| ENTRY_BYTES + key.len() + value.len())
}

impl Store {
    /// What `key` holds.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.keys.get(key)?.value.as_deref()
    }

    /// The instance as of which [`Store::get`]'s answer holds.
    pub(super) fn changed(&self, key: &str) -> Cid {
        self.keys.get(key).map_or(self.older, |slot| slot.changed)
    }

    /// The instance of the last change of any key.
    pub(super) fn last_change(&self) -> Cid {
        self.last_change
    }

    /// The size of the store if `key` held `value`.
    pub(super) fn size_with(&self, key: &str, value: Option<&str>) -> usize {
        self.size - size(key, self.get(key)) + size(key, value)
    }

    /// Gives `key` another value, `None` to delete it, and returns the previous one.
    pub(super) fn write(&mut self, key: &str, value: Option<&str>, cid: Cid) -> Option<String> {
        let previous = self.get(key).map(str::to_owned);
        if previous.as_deref() != value {
            self.size = self.size_with(key, value);
            self.last_change = cid;
            self.set(key.into(), Slot { value: value.map(Arc::from), changed: cid });
        }
        previous
    }

    /// The present entries whose keys begin with `prefix` and come after `after`, by key.
    pub(super) fn entries<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.keys
            .range::<str, _>((start, Bound::Unbounded))
            .map(|(key, slot)| (&**key, slot.value.as_deref()))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .filter_map(|(key, value)| Some((key, value?)))
    }

    fn set(&mut self, key: Arc<str>, slot: Slot) {
        if let Some(old) = self.keys.get(&key).filter(|old| old.value.is_none()) {
            self.deleted.remove_mut(&(old.changed, key.clone()));
        }
        if slot.value.is_none() {
            self.deleted.insert_mut((slot.changed, key.clone()));
        }
        self.keys.insert_mut(key, slot);
        if self.deleted.size() > MAX_DELETED
            && let Some((changed, key)) = self.deleted.first().cloned()
        {
            self.older = self.older.max(changed);
            self.keys.remove_mut(&key);
            self.deleted.remove_mut(&(changed, key));
        }
    }
}

/// [`Saved`] as it is written: without copying every text first.
#[derive(Serialize)]
struct Saving<'a> {
    keys: Vec<(&'a str, Option<&'a str>, Cid)>,
    older: Cid,
    last_change: Cid,
}

impl Serialize for Store {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let keys = self
            .keys
            .iter()
            .map(|(key, slot)| (&**key, slot.value.as_deref(), slot.changed))
            .collect();
        Saving { keys, older: self.older, last_change: self.last_change }.serialize(serializer)
    }
}

impl From<Saved> for Store {
    fn from(saved: Saved) -> Self {
        let mut store =
            Self { older: saved.older, last_change: saved.last_change, ..Self::default() };
        for (key, value, changed) in saved.keys {
            store.size = store.size_with(&key, value.as_deref());
            store.set(key.into(), Slot { value: value.map(Arc::from), changed });
        }
        store
    }
}
