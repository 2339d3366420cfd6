//! The editor of the paper (section 3.5): Differential Synchronization with diff-match-patch on the
//! server, instead of the rebase. It is there to be compared with; docs/editor.md has the figures.
//!
//! Requests, results and events are those of the editor. But an edit is the result of a diff, and
//! the replicas make a patch of it, with context, and apply this to the current text where it seems
//! to fit best. What fits nowhere is dropped, and the answer is success all the same: that is the
//! method. Pages do the same with what others changed, by the same code: `patch.rs` has what both
//! sides share, `page.rs` the page's half.
//!
//! N. Fraser, Differential Synchronization, DocEng 2009, has a server keep a copy of the text for
//! each client, its shadow. Here edits are in one order, so that all shadows are versions of the
//! document, and the log has them.

mod page;
mod patch;

pub use page::{Edit, Page};
pub use patch::{MAX_CHANGE, MAX_SPANS, PatchError, difference, patch};

use super::document::Document;
use super::merge::Merge;
use super::rebase::Span;
use super::service::Problem;

/// The paper's mode of the editor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffSync;

impl Merge for DiffSync {
    /// A patch takes time in proportion to the text, for each 32 characters that it changes.
    const MAX_TEXT: usize = 64 << 10;

    fn restate(document: &Document, spans: Vec<Span>, base: u64) -> Result<Vec<Span>, Problem> {
        let text = document.text.to_string();
        let patched = patch(&document.text_at(base).to_string(), &spans, &text).map_err(
            |error| match error {
                PatchError::TooLarge => Problem::TooLarge { limit: MAX_CHANGE, spans: MAX_SPANS },
                PatchError::SplitsSurrogate { at } => Problem::SplitsSurrogate { at },
                PatchError::Failed => Problem::PatchFailed,
            },
        )?;
        Ok(difference(&text, &patched))
    }
}

#[cfg(test)]
mod tests;
