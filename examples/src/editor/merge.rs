//! How an edit of an older version becomes one of the current version.

use std::fmt::Debug;

use super::document::Document;
use super::rebase::Span;
use super::service::Problem;
use super::text::MAX_TEXT;

/// What to do with an edit that its author made without knowing the latest ones.
///
/// A pure function: all replicas come to the same.
pub trait Merge: Debug + Clone + PartialEq + Eq + Send + Sync + 'static {
    /// The largest text, counted as for [`MAX_TEXT`](super::MAX_TEXT) and no larger.
    const MAX_TEXT: usize = MAX_TEXT;

    /// Restates `spans`, an edit of version `base` that [`check`](super::rebase::check) passes, for
    /// the current version.
    ///
    /// # Errors
    /// Why the edit is refused.
    fn restate(document: &Document, spans: Vec<Span>, base: u64) -> Result<Vec<Span>, Problem>;
}

/// Rebases the spans, exactly ([`rebase`](super::rebase::rebase)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebase;

impl Merge for Rebase {
    fn restate(document: &Document, spans: Vec<Span>, base: u64) -> Result<Vec<Span>, Problem> {
        Ok(document.rebase(spans, base))
    }
}
