//! A set of members of one view, by position.

use serde::{Deserialize, Serialize};

/// A set of positions in a view's member list; at most [`ReplicaSet::CAPACITY`] members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReplicaSet(u64);

impl ReplicaSet {
    /// The largest number of members a view may have.
    pub const CAPACITY: usize = 64;
    /// No member.
    pub const EMPTY: Self = Self(0);

    /// The one member at `index`.
    ///
    /// # Panics
    /// Where `index` is not below [`ReplicaSet::CAPACITY`]; a [`View`](super::View) has no such
    /// member.
    #[must_use]
    pub const fn one(index: usize) -> Self {
        assert!(index < Self::CAPACITY);
        Self(1 << index)
    }

    /// The members 0 to `n` − 1.
    #[must_use]
    pub const fn first(n: usize) -> Self {
        assert!(n <= Self::CAPACITY);
        if n == Self::CAPACITY { Self(u64::MAX) } else { Self((1 << n) - 1) }
    }

    /// Adds a member; false if it was there already.
    pub const fn insert(&mut self, index: usize) -> bool {
        let before = self.0;
        self.0 |= Self::one(index).0;
        before != self.0
    }

    /// Takes a member out; false if it was not there.
    pub const fn remove(&mut self, index: usize) -> bool {
        let before = self.0;
        self.0 &= !Self::one(index).0;
        before != self.0
    }

    /// This set without the member at `index`.
    #[must_use]
    pub const fn without(mut self, index: usize) -> Self {
        self.remove(index);
        self
    }

    /// Is the member at `index` in the set?
    #[must_use]
    pub const fn contains(self, index: usize) -> bool {
        index < Self::CAPACITY && self.0 & (1 << index) != 0
    }

    /// How many members.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Is there none?
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The positions, ascending.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let next = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            (next < Self::CAPACITY).then_some(next)
        })
    }

    /// Are all of these in the other set?
    #[must_use]
    pub const fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }
}

impl FromIterator<usize> for ReplicaSet {
    fn from_iter<I: IntoIterator<Item = usize>>(indices: I) -> Self {
        let mut set = Self::EMPTY;
        for index in indices {
            set.insert(index);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_operations() {
        let mut set = ReplicaSet::EMPTY;
        assert!(set.insert(3) && set.insert(0) && !set.insert(3));
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 3]);
        assert_eq!(set.len(), 2);
        assert!(set.remove(0) && !set.remove(0) && !set.is_empty());
        assert_eq!(ReplicaSet::first(64).len(), 64);
        assert_eq!(ReplicaSet::first(4).without(2), [0, 1, 3].into_iter().collect());
        assert!(!set.contains(1000));
        assert_eq!(ReplicaSet::first(64).iter().last(), Some(63));
        assert_eq!(ReplicaSet::EMPTY.iter().next(), None);
        assert!(set.is_within(ReplicaSet::first(4)) && !ReplicaSet::first(4).is_within(set));
    }
}
