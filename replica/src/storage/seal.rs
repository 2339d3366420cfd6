//! The checksum that every row carries: a damaged row is found, and named, whatever the database
//! below makes of it.

use sha2::{Digest as _, Sha256};

/// Bytes of the checksum at the head of a row.
const CHECKSUM: usize = 16;

/// `payload` with its checksum, to be stored in `table` under `key`. Table and key are part of it,
/// so that a row in the wrong place does not pass either.
pub(super) fn seal(table: &str, key: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(CHECKSUM + payload.len());
    row.extend_from_slice(&checksum(table, key, payload));
    row.extend_from_slice(payload);
    row
}

/// The payload of a row, unless it is not what was stored there.
pub(super) fn open<'a>(table: &str, key: &[u8], row: &'a [u8]) -> Option<&'a [u8]> {
    let (found, payload) = row.split_at_checked(CHECKSUM)?;
    (found == checksum(table, key, payload)).then_some(payload)
}

fn checksum(table: &str, key: &[u8], payload: &[u8]) -> [u8; CHECKSUM] {
    let mut hash = Sha256::new();
    for part in [table.as_bytes(), key] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update(payload);
    let hash: [u8; 32] = hash.finalize().into();
    let mut checksum = [0; CHECKSUM];
    checksum.copy_from_slice(&hash[..CHECKSUM]);
    checksum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_opens_in_its_place_and_only_unchanged() {
        let row = seal("log", &[1], b"payload");
        assert_eq!(open("log", &[1], &row), Some(&b"payload"[..]));
        assert_eq!(open("log", &[2], &row), None);
        assert_eq!(open("kept", &[1], &row), None);
        for index in 0..row.len() {
            let mut changed = row.clone();
            changed[index] ^= 1;
            assert_eq!(open("log", &[1], &changed), None, "byte {index}");
        }
        for len in 0..row.len() {
            assert_eq!(open("log", &[1], &row[..len]), None, "{len} bytes");
        }
    }
}
