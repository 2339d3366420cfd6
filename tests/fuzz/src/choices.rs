//! The fuzzer's bytes as choices.

use arbitrary::Unstructured;

/// What is left of the bytes. Choices made after their end are the first ones.
pub(crate) struct Choices<'a>(Unstructured<'a>);

impl<'a> Choices<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(Unstructured::new(bytes))
    }

    /// Are all bytes used up?
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.0.arbitrary().unwrap_or_default()
    }

    /// A number below `end`, or 0 where that is 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0.int_in_range(0..=end.saturating_sub(1)).unwrap_or_default()
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// True one time in `n`.
    pub(crate) fn one_in(&mut self, n: u8) -> bool {
        self.byte().is_multiple_of(n)
    }

    pub(crate) fn of<T: Clone>(&mut self, values: &[T]) -> Option<T> {
        values.get(self.below(values.len())).cloned()
    }

    /// A number that matters: around `near`, around zero, around the largest, or any.
    pub(crate) fn number(&mut self, near: u64) -> u64 {
        match self.byte() % 16 {
            0 => 0,
            1 => 1,
            2 => 2,
            3 | 4 => near,
            5 | 6 => near.wrapping_add(1),
            7 => near.wrapping_sub(1),
            8 => near.wrapping_add(u64::from(self.byte())),
            9 => u64::MAX,
            10 => u64::MAX - u64::from(self.byte()),
            11 => 1 << 63,
            12 => u64::from(u32::MAX),
            13 => u64::from(self.byte()),
            _ => self.0.arbitrary().unwrap_or_default(),
        }
    }

    /// As [`Choices::number`], of 32 bits.
    pub(crate) fn short(&mut self, near: u32) -> u32 {
        match self.byte() % 8 {
            0 => 0,
            1..4 => near,
            4 => near.wrapping_add(1),
            5 => near.wrapping_sub(1),
            6 => u32::MAX - u32::from(self.byte() % 2),
            _ => self.0.arbitrary().unwrap_or_default(),
        }
    }

    /// Up to `most` bytes.
    pub(crate) fn bytes(&mut self, most: usize) -> Vec<u8> {
        let len = self.below(most + 1);
        (0..len).map(|_| self.byte()).collect()
    }

    /// Changes, cuts or lengthens some bytes.
    pub(crate) fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.byte() % 4 {
            let at = self.below(bytes.len());
            match (self.byte() % 6, bytes.get_mut(at)) {
                (0, Some(byte)) => *byte ^= 1 << (self.byte() % 8),
                (1, Some(byte)) => *byte = self.byte(),
                (2, Some(_)) => bytes.truncate(at),
                (3, Some(_)) => {
                    bytes.remove(at);
                }
                (4, Some(_)) => bytes.insert(at, 0xff),
                _ => bytes.push(self.byte()),
            }
        }
    }
}
