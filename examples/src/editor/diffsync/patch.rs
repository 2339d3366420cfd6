//! What the page and the replica share: differences of two texts, and patches that are applied to a
//! third.
//!
//! There are no time limits, or the result would depend on the speed of the machine. The size of
//! the input is bounded instead.

use std::panic::catch_unwind;

use diff_match_patch_rs::dmp::Diff;
use diff_match_patch_rs::{Compat, DiffMatchPatch, Ops, PatchInput};

use super::super::rebase::{Span, normalise, utf16_len};

/// How many UTF-16 code units an edit may remove and insert together.
pub const MAX_CHANGE: usize = 1024;
/// How many spans an edit may have.
pub const MAX_SPANS: usize = 32;

/// Why there is no patched text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The edit is larger than [`MAX_CHANGE`] or [`MAX_SPANS`]: the caller is to divide it.
    #[error(
        "the edit is too large: at most {MAX_CHANGE} UTF-16 code units removed and inserted, and \
         {MAX_SPANS} spans"
    )]
    TooLarge,
    /// A span begins or ends inside a character, or behind the text: the edit's author is wrong.
    #[error("position {at} is behind the text or inside a surrogate pair")]
    SplitsSurrogate {
        /// The position.
        at: usize,
    },
    /// The library failed: the text to be patched is too different, in a way that it does not
    /// expect.
    #[error("diff-match-patch cannot apply the edit to this text")]
    Failed,
}

fn library() -> DiffMatchPatch {
    let mut library = DiffMatchPatch::new();
    library.set_timeout(None);
    // The line mode is a shortcut with another result.
    library.set_checklines(false);
    library
}

/// The spans that make `new` of `old`. Minimal, but not necessarily what somebody typed.
#[must_use]
pub fn difference(old: &str, new: &str) -> Vec<Span> {
    let (start, old, new) = middle(old, new);
    let from = utf16_len(start);
    let Ok(Ok(diffs)) = catch_unwind(|| library().diff_main::<Compat>(old, new)) else {
        return normalise(vec![Span::new(from, from + utf16_len(old), new)]);
    };
    let mut spans: Vec<Span> = Vec::new();
    let mut at = from;
    // A deletion and an insertion beside each other are one replacement.
    let mut apart = true;
    for diff in &diffs {
        let length = diff.data().iter().map(|char| char.len_utf16()).sum::<usize>();
        if diff.op() == Ops::Equal {
            at += length;
            apart = true;
            continue;
        }
        if apart {
            spans.push(Span::new(at, at, ""));
            apart = false;
        }
        let Some(span) = spans.last_mut() else { continue };
        if diff.op() == Ops::Delete {
            at += length;
            span.to = at;
        } else {
            span.insert.extend(diff.data());
        }
    }
    normalise(spans)
}

/// What two texts begin with alike, and what is left of each without that and their common end. The
/// library would do the same, character by character.
fn middle<'a>(old: &'a str, new: &'a str) -> (&'a str, &'a str, &'a str) {
    let mut alike = old.bytes().zip(new.bytes()).take_while(|(a, b)| a == b).count();
    while !old.is_char_boundary(alike) {
        alike -= 1;
    }
    let (start, old, new) = (&old[..alike], &old[alike..], &new[alike..]);
    let mut alike = old.bytes().rev().zip(new.bytes().rev()).take_while(|(a, b)| a == b).count();
    while !old.is_char_boundary(old.len() - alike) {
        alike -= 1;
    }
    (start, &old[..old.len() - alike], &new[..new.len() - alike])
}

/// Applies `edit`, which was made for the text `base`, to the text `onto`: wherever it seems to fit
/// best, and not at all where nothing fits.
///
/// # Errors
/// See [`PatchError`].
pub fn patch(base: &str, edit: &[Span], onto: &str) -> Result<String, PatchError> {
    let change: usize = edit.iter().map(|span| span.removed() + span.inserted()).sum();
    if change > MAX_CHANGE || edit.len() > MAX_SPANS {
        return Err(PatchError::TooLarge);
    }
    let diffs = diffs(base, edit)?;
    // The library indexes out of bounds where a patch fits badly: about once in a thousand texts
    // made for that. That is no reason for a replica to stop; and all fail alike.
    let patched = catch_unwind(|| {
        let library = library();
        let patches = library.patch_make(PatchInput::new_text_diffs(base, &diffs))?;
        library.patch_apply(&patches, onto)
    });
    match patched {
        Ok(Ok((text, _))) => Ok(text),
        Ok(Err(_)) | Err(_) => Err(PatchError::Failed),
    }
}

/// The whole text in pieces: equal, deleted, inserted. The spans are in ascending order.
fn diffs(base: &str, edit: &[Span]) -> Result<Vec<Diff<Compat>>, PatchError> {
    let chars: Vec<char> = base.chars().collect();
    // The number of characters in front of a position.
    let mut passed = (0, 0);
    let mut place = |at: usize| {
        let (mut units, mut place) = passed;
        while units < at && place < chars.len() {
            units += chars[place].len_utf16();
            place += 1;
        }
        passed = (units, place);
        if units == at { Ok(place) } else { Err(PatchError::SplitsSurrogate { at }) }
    };
    let (mut diffs, mut done) = (Vec::with_capacity(3 * edit.len() + 1), 0);
    let mut push = |op: fn(&[char]) -> Diff<Compat>, data: &[char]| {
        if !data.is_empty() {
            diffs.push(op(data));
        }
    };
    for span in edit {
        let (from, to) = (place(span.from)?, place(span.to)?);
        push(Diff::equal, &chars[done..from]);
        push(Diff::delete, &chars[from..to]);
        push(Diff::insert, &span.insert.chars().collect::<Vec<_>>());
        done = to;
    }
    push(Diff::equal, &chars[done..]);
    Ok(diffs)
}
