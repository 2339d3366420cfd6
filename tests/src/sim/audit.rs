//! The hash of a run: equal for the same seed, whatever else the machine does.

use xxhash_rust::xxh3::Xxh3;

/// Folds in what happens. Nobody attacks this hash: a fast one will do.
#[derive(Clone, Default)]
pub struct Audit(Xxh3);

impl Audit {
    /// Folds in something that happened at a time; `what` is length-delimited.
    pub fn fold(&mut self, at: u64, what: &str, numbers: [u64; 3], bytes: &[u8]) {
        self.0.update(&at.to_le_bytes());
        self.0.update(&(what.len() as u64).to_le_bytes());
        self.0.update(what.as_bytes());
        for number in numbers {
            self.0.update(&number.to_le_bytes());
        }
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// The hash so far, in hexadecimal.
    #[must_use]
    pub fn hash(&self) -> String {
        format!("{:032x}", self.0.digest128())
    }
}
