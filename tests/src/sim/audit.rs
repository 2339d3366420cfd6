//! The hash of a run: equal for the same seed, whatever else the machine does.

use sha2::{Digest as _, Sha256};

/// Folds in what happens.
#[derive(Debug, Clone, Default)]
pub struct Audit(Sha256);

impl Audit {
    /// Folds in something that happened at a time; `what` and `details` are length-delimited.
    pub fn fold(&mut self, at: u64, what: &str, details: &[u8]) {
        self.0.update(at.to_le_bytes());
        self.0.update(what.len().to_le_bytes());
        self.0.update(what);
        self.0.update(details.len().to_le_bytes());
        self.0.update(details);
    }

    /// The hash so far, in hexadecimal.
    #[must_use]
    pub fn hash(&self) -> String {
        self.0.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
