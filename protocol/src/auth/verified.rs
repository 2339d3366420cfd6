//! The proof of having checked.

use std::ops::Deref;

/// A message whose sender and bytes have been authenticated.
///
/// Only [`auth`](super) makes these, from a link's MAC or from a mutually authenticated stream.
/// It proves who sent the message, not that what it says is true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    pub(super) const fn new(message: T) -> Self {
        Self(message)
    }

    /// The message, giving up the proof.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}
