//! Everything random in a run, from one seed. Integers only, so that a seed means the same run on
//! every machine.

use std::ops::RangeInclusive;

use rand::{Rng as _, RngCore, SeedableRng as _};
use rand_chacha::ChaCha12Rng;

/// The source of every decision of a run.
#[derive(Debug, Clone)]
pub struct Draw(ChaCha12Rng);

impl Draw {
    /// The source that belongs to a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(ChaCha12Rng::seed_from_u64(seed))
    }

    /// A number in the range.
    pub fn between(&mut self, range: RangeInclusive<u64>) -> u64 {
        self.0.random_range(range)
    }

    /// A number in the range.
    pub fn between32(&mut self, range: RangeInclusive<u32>) -> u32 {
        self.0.random_range(range)
    }

    /// A position below `len`, which must not be 0.
    pub fn below(&mut self, len: usize) -> usize {
        self.0.random_range(0..len)
    }

    /// True `numerator` times in `denominator`.
    pub fn chance(&mut self, numerator: u32, denominator: u32) -> bool {
        self.0.random_ratio(numerator.min(denominator), denominator)
    }

    /// One of the items, which must not be none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// 32 random bytes.
    pub fn bytes32(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// `len` random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// A random number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A time with the given median-like size and a tail: each doubling is half as likely.
    pub fn tailed(&mut self, size: u64) -> u64 {
        let doublings = self.0.next_u64().leading_zeros().min(6);
        self.between(0..=(size << doublings).max(1))
    }
}
