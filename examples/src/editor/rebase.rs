//! The rebase rule: an edit of one version, restated for a later version.
//!
//! Positions count UTF-16 code units of the text that the edit applies to. The rule is that of
//! CodeMirror's `ChangeSet.map`, so that a web page can use that; `tests/codemirror` compares.

use serde::{Deserialize, Serialize};

/// Replaces the text in `from..to` by `insert`. An edit is a list of spans, all relative to the
/// same text, in ascending order, without overlap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// Where the replaced text begins.
    pub from: usize,
    /// Where it ends; equal to `from` for an insertion.
    pub to: usize,
    /// What takes its place; empty for a deletion.
    pub insert: String,
}

/// Which insertion comes first where both edits insert at the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    /// The accepted one (`ChangeSet.map` with `before = false`): what the replicas do.
    AcceptedFirst,
    /// The one being rebased (`before = true`): what a client does to an accepted edit, to bring
    /// it past its own that are not accepted yet.
    IncomingFirst,
}

impl Span {
    /// A span.
    pub fn new(from: usize, to: usize, insert: impl Into<String>) -> Self {
        Self { from, to, insert: insert.into() }
    }

    /// How many code units it removes.
    #[must_use]
    pub fn removed(&self) -> usize {
        self.to - self.from
    }

    /// How many code units it inserts.
    #[must_use]
    pub fn inserted(&self) -> usize {
        utf16_len(&self.insert)
    }

    /// Spans of both edits are ordered by place; at the same place the shorter comes first, so
    /// that an insertion precedes the replacement of what follows it.
    fn precedes(&self, other: &Self, tie: bool) -> bool {
        let (this, that) = ((self.from, self.removed()), (other.from, other.removed()));
        this < that || (tie && this == that)
    }
}

/// The length of `text` in UTF-16 code units.
#[must_use]
pub fn utf16_len(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// Whether `spans` are an edit of a text of any length.
///
/// # Errors
/// What is wrong, in words.
pub fn check(spans: &[Span]) -> Result<(), String> {
    let mut end = 0;
    for (index, Span { from, to, .. }) in spans.iter().enumerate() {
        if from > to {
            return Err(format!("span {index} ends at {to}, before it begins at {from}"));
        }
        if *from < end {
            return Err(format!(
                "span {index} begins at {from}, before the end of the one before it at {end}; \
                 spans are ascending, do not overlap, and all refer to the same text"
            ));
        }
        end = *to;
    }
    Ok(())
}

/// Leaves out spans that do nothing, and joins neighbouring deletions and insertions.
///
/// Other neighbours stay apart: joining a replacement with what follows it would move text that
/// somebody else inserts between them.
#[must_use]
pub fn normalise(spans: Vec<Span>) -> Vec<Span> {
    let mut out = Vec::with_capacity(spans.len());
    for Span { from, to, insert } in spans {
        push(&mut out, from, to, insert);
    }
    out
}

/// The length of a text of `length` code units after an edit.
#[must_use]
pub fn length_after(spans: &[Span], length: usize) -> usize {
    let (removed, inserted) =
        spans.iter().fold((0, 0), |sum, span| (sum.0 + span.removed(), sum.1 + span.inserted()));
    length + inserted - removed
}

/// Restates the edit `incoming` for the text after `accepted`; both are edits of the same text.
///
/// What `accepted` deleted is no longer deleted. An insertion stays, at the place where the text
/// around it was deleted if need be. A deletion spares what `accepted` inserted inside it.
///
/// Applying `accepted`, then `rebase(incoming, accepted, AcceptedFirst)`, gives the same text as
/// applying `incoming`, then `rebase(accepted, incoming, IncomingFirst)`.
#[must_use]
pub fn rebase(incoming: Vec<Span>, accepted: &[Span], tie: Tie) -> Vec<Span> {
    let mut out = Vec::with_capacity(incoming.len());
    let mut over = Over { rest: accepted, deleted_to: 0, added: 0, removed: 0 };
    for mut span in incoming {
        while let Some(first) = over.rest.first()
            && first.precedes(&span, tie == Tie::AcceptedFirst)
        {
            over.pass();
        }
        // The accepted edit may cut the span into pieces. The insertion goes with the first.
        let (mut from, mut piece) = (over.place(span.from), 0);
        while let Some(next) = over.rest.first().filter(|next| next.from < span.to) {
            piece += over.survivors(span.from, next.from);
            over.pass();
            if !next.insert.is_empty() {
                push(&mut out, from, from + piece, std::mem::take(&mut span.insert));
                (from, piece) = (over.place(span.from), 0);
            }
        }
        piece += over.survivors(span.from, span.to);
        push(&mut out, from, from + piece, span.insert);
    }
    out
}

/// The accepted edit, and how far into it the rebase has come.
struct Over<'a> {
    rest: &'a [Span],
    /// The end of the last span passed, in the old text.
    deleted_to: usize,
    /// Code units that the spans passed insert.
    added: usize,
    /// Code units that they remove.
    removed: usize,
}

impl Over<'_> {
    fn pass(&mut self) {
        if let Some((first, rest)) = self.rest.split_first() {
            self.added += first.inserted();
            self.removed += first.removed();
            self.deleted_to = first.to;
            self.rest = rest;
        }
    }

    /// Where a position of the old text is in the new one, seen from the spans passed.
    fn place(&self, position: usize) -> usize {
        position.max(self.deleted_to) + self.added - self.removed
    }

    /// How many code units of `from..to` lie behind the spans passed.
    fn survivors(&self, from: usize, to: usize) -> usize {
        to.saturating_sub(from.max(self.deleted_to))
    }
}

fn push(out: &mut Vec<Span>, from: usize, to: usize, insert: String) {
    if from == to && insert.is_empty() {
        return;
    }
    if let Some(last) = out.last_mut().filter(|last| last.to == from) {
        let (deletes, inserts) = (insert.is_empty(), from == to);
        if deletes && last.insert.is_empty() {
            last.to = to;
            return;
        }
        if inserts && last.from == last.to {
            last.insert.push_str(&insert);
            return;
        }
    }
    out.push(Span { from, to, insert });
}
