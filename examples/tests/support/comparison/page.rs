//! A page of the rebasing editor, as js/editor works: what is typed shows at once, one edit is in
//! flight, and what is typed meanwhile becomes the next one.

use webbft_examples::editor::diffsync::Edit;
use webbft_examples::editor::rebase::{Span, Tie, normalise, rebase};
use webbft_examples::editor::{Event, Text};

#[derive(Default)]
pub(crate) struct RebasePage {
    pub(super) text: Text,
    version: u64,
    /// An edit of the text of `version`.
    in_flight: Option<(String, Vec<Span>)>,
    /// An edit of the text after that.
    pending: Vec<Span>,
}

impl RebasePage {
    pub(super) fn change(&mut self, spans: &[Span]) {
        self.text.apply(spans).unwrap();
        // From the last to the first: each is an edit of what those behind it leave.
        for span in spans.iter().rev() {
            add(&mut self.pending, span);
        }
    }

    pub(super) fn send(&mut self, tag: &str) -> Option<Edit> {
        if self.in_flight.is_some() || self.pending.is_empty() {
            return None;
        }
        let spans = std::mem::take(&mut self.pending);
        self.in_flight = Some((tag.to_owned(), spans.clone()));
        Some(Edit { base: self.version, spans })
    }

    pub(super) fn accepted(&mut self, event: &Event) -> Vec<Span> {
        self.version += 1;
        assert_eq!(event.version, self.version);
        let mut remote = event.spans.clone();
        if let Some((tag, spans)) = &mut self.in_flight {
            if *tag == event.tag {
                assert_eq!(*spans, event.spans, "the replicas made of it what this page did");
                self.in_flight = None;
                return Vec::new();
            }
            let mapped = rebase(spans.clone(), &remote, Tie::AcceptedFirst);
            remote = rebase(remote, spans, Tie::IncomingFirst);
            *spans = mapped;
        }
        let mapped = rebase(self.pending.clone(), &remote, Tie::AcceptedFirst);
        remote = rebase(remote, &self.pending, Tie::IncomingFirst);
        self.pending = mapped;
        self.text.apply(&remote).unwrap();
        remote
    }
}

/// Adds `new`, an edit of the text after `edit`, to `edit`: what it touches becomes one span.
fn add(edit: &mut Vec<Span>, new: &Span) {
    let mut out = Vec::with_capacity(edit.len() + 1);
    // Of the spans so far: a place behind them is `added - removed` further on after `edit`.
    let (mut added, mut removed) = (0, 0);
    let mut rest = std::mem::take(edit).into_iter().peekable();
    while let Some(span) =
        rest.next_if(|span| span.from + added - removed + span.inserted() < new.from)
    {
        added += span.inserted();
        removed += span.removed();
        out.push(span);
    }
    let mut from = None;
    let otherwise = new.from + removed - added;
    let (mut to, mut left, mut right) = (None, String::new(), String::new());
    while let Some(span) = rest.next_if(|span| span.from + added - removed <= new.to) {
        let begin = span.from + added - removed;
        if from.is_none() && begin <= new.from {
            left.push_str(split(&span.insert, new.from - begin).0);
            from = Some(span.from);
        }
        from = from.or(Some(otherwise));
        to = (begin + span.inserted() >= new.to).then(|| {
            split(&span.insert, new.to - begin).1.clone_into(&mut right);
            span.to
        });
        added += span.inserted();
        removed += span.removed();
    }
    let to = to.unwrap_or(new.to + removed - added);
    out.push(Span::new(from.unwrap_or(otherwise), to, [&left, &*new.insert, &right].concat()));
    out.extend(rest);
    *edit = normalise(out);
}

/// In two after `length` UTF-16 code units.
fn split(text: &str, length: usize) -> (&str, &str) {
    let mut units = 0;
    let at = text.char_indices().find(|(_, char)| {
        let found = units >= length;
        units += char.len_utf16();
        found
    });
    text.split_at(at.map_or(text.len(), |(at, _)| at))
}
