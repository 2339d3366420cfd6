//! Identifiers, each a type of its own.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// A replica, named by the view. Not its position in the view.
    ReplicaId(u16)
}
number! {
    /// The number of a view; the genesis view is 0.
    ViewNumber(u64)
}
number! {
    /// The number of a consensus instance; the first is 1, and 0 stands for "none yet".
    Cid(u64)
}
number! {
    /// How many leader changes this view has seen; the leader is `members[regency mod n]`.
    Regency(u32)
}
number! {
    /// The epoch of a consensus instance: regency + 1, never 0 (rule N1).
    Epoch(u32)
}

impl Cid {
    /// Before the first instance.
    pub const ZERO: Self = Self(0);

    /// The following instance.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Regency {
    /// The epoch in which this regency's leader proposes (rule N1).
    #[must_use]
    pub const fn epoch(self) -> Epoch {
        Epoch(self.0.saturating_add(1))
    }

    /// The following regency.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Epoch {
    /// The regency whose leader proposes in this epoch; none for epoch 0, which does not exist.
    #[must_use]
    pub const fn regency(self) -> Option<Regency> {
        match self.0.checked_sub(1) {
            Some(regency) => Some(Regency(regency)),
            None => None,
        }
    }
}

macro_rules! bytes {
    ($(#[$doc:meta])* $name:ident[$length:literal]) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub struct $name(pub [u8; $length]);

        // In the order of the bytes. Maps by these are looked into for every vouch, and the
        // derived order compares through a call each time.
        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                const { assert!($length % 16 == 0, "compared in words of 16 bytes") };
                let ((mine, _), (others, _)) = (self.0.as_chunks(), other.0.as_chunks());
                let words = |bytes: &[[u8; 16]]| -> [u128; $length / 16] {
                    std::array::from_fn(|index| u128::from_be_bytes(bytes[index]))
                };
                words(mine).cmp(&words(others))
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl $name {
            /// Parses the hexadecimal form that `Display` writes.
            ///
            /// # Errors
            /// What is wrong with the text, in words.
            pub fn from_hex(text: &str) -> Result<Self, String> {
                let bytes = hex::decode(text).map_err(|error| format!("not hexadecimal: {error}"))?;
                <[u8; $length]>::try_from(bytes.as_slice()).map(Self).map_err(|_| {
                    format!("{} bytes where {} are wanted", bytes.len(), $length)
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), hex::encode(&self.0[..4]))
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = String::deserialize(deserializer)?;
                    Self::from_hex(&text).map_err(serde::de::Error::custom)
                } else {
                    <[u8; $length]>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

bytes! {
    /// A service: 16 random bytes drawn when it is set up.
    ServiceId[16]
}
bytes! {
    /// A session: 16 random bytes drawn by the client; meaningful together with its `ClientId`.
    SessionId[16]
}
bytes! {
    /// A client: the first 16 bytes of the SHA-256 of its static X25519 public key.
    ClientId[16]
}
bytes! {
    /// A SHA-256 digest.
    Digest[32]
}

impl ClientId {
    /// The id of the client with this static public key.
    #[must_use]
    pub fn of_key(public_key: &[u8; 32]) -> Self {
        let digest = Digest::of(public_key);
        let mut id = [0; 16];
        id.copy_from_slice(&digest.0[..16]);
        Self(id)
    }
}

impl Digest {
    /// The SHA-256 of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trip_and_errors() {
        let id = ServiceId([0xab; 16]);
        assert_eq!(ServiceId::from_hex(&id.to_string()), Ok(id));
        assert_eq!(ServiceId::from_hex("abcd"), Err("2 bytes where 16 are wanted".to_owned()));
        assert!(ServiceId::from_hex("zz").unwrap_err().starts_with("not hexadecimal"));
    }
}
