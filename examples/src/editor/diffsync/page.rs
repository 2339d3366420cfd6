//! The page's half, without a screen or a network.

use super::super::document::Event;
use super::super::rebase::Span;
use super::super::text::{Text, TextError};
use super::patch::{MAX_CHANGE, MAX_SPANS, difference, patch};

/// What to send: the operation `edit` without its document and tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The version that the spans refer to.
    pub base: u64,
    /// What to replace.
    pub spans: Vec<Span>,
}

/// One user's view of a document: the text on the screen, and what the replicas are known to hold.
#[derive(Debug, Clone, Default)]
pub struct Page {
    text: Text,
    version: u64,
    /// The replicas' text at `version`.
    shadow: Text,
    /// While an edit is on its way: its tag, and the text as it was meant to be after it.
    sent: Option<(String, Text)>,
    /// How many times a patch of another's change was given up, and the page took the replicas' text.
    failed: usize,
}

impl Page {
    /// Begins with what `read` gave.
    #[must_use]
    pub fn new(version: u64, text: &str) -> Self {
        let text = Text::from(text);
        Self { shadow: text.clone(), text, version, sent: None, failed: 0 }
    }

    /// The text on the screen.
    #[must_use]
    pub fn text(&self) -> &Text {
        &self.text
    }

    /// How many times unsent changes were lost because the library could not patch.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// The user types.
    ///
    /// # Errors
    /// Where the spans do not fit the text.
    pub fn change(&mut self, spans: &[Span]) -> Result<(), TextError> {
        self.text.apply(spans)
    }

    /// What there is to send: the difference between the screen and the replicas' text, or as much
    /// of it as one edit may have. One at a time: `None` until the event has come.
    pub fn send(&mut self, tag: &str) -> Option<Edit> {
        if self.sent.is_some() || self.text == self.shadow {
            return None;
        }
        let spans =
            beginning(&self.shadow, difference(&self.shadow.to_string(), &self.text.to_string()));
        let mut meant = self.shadow.clone();
        meant.apply(&spans).ok()?;
        self.sent = Some((tag.to_owned(), meant));
        Some(Edit { base: self.version, spans })
    }

    /// The replicas refused the edit on its way: nothing is known of it any more but the text on the
    /// screen, and the next one begins anew.
    pub fn refused(&mut self) {
        self.sent = None;
    }

    /// The replicas accepted an edit, this page's or another's: the changes of the screen.
    ///
    /// While an own edit is on its way, others' are not shown. When it is back, the screen follows
    /// the replicas by the difference between what was meant and what has become of it.
    ///
    /// # Errors
    /// Where the event is not the next one; then the page has to read the text again.
    pub fn accepted(&mut self, event: &Event) -> Result<Vec<Span>, TextError> {
        let before = match &self.sent {
            None => self.shadow.clone(),
            Some((_, meant)) => meant.clone(),
        };
        self.shadow.apply(&event.spans)?;
        self.version = event.version;
        if self.sent.as_ref().is_some_and(|(tag, _)| *tag != event.tag) {
            return Ok(Vec::new());
        }
        let own = self.sent.take().is_some();
        if self.shadow == before {
            return Ok(Vec::new());
        }
        if !own && self.text == before {
            self.text = self.shadow.clone();
            return Ok(event.spans.clone());
        }
        let old = self.text.to_string();
        let new = self.patched(before, &old);
        self.text = Text::from(new.as_str());
        Ok(difference(&old, &new))
    }

    /// The screen `text`, brought from `before` to the replicas' text.
    fn patched(&mut self, mut before: Text, text: &str) -> String {
        let shadow = self.shadow.to_string();
        let mut text = text.to_owned();
        // A patch is bounded, hence as many as it takes.
        loop {
            let from = before.to_string();
            let spans = beginning(&before, difference(&from, &shadow));
            if spans.is_empty() {
                return text;
            }
            match (patch(&from, &spans, &text), before.apply(&spans)) {
                (Ok(patched), Ok(())) => text = patched,
                _ => {
                    self.failed += 1;
                    return shadow;
                }
            }
        }
    }
}

/// The first of the spans, an edit of `text`: as many as one edit may have. If the first is too
/// large, a part of it, so that the rest is a smaller difference.
fn beginning(text: &Text, spans: Vec<Span>) -> Vec<Span> {
    let (mut out, mut left) = (Vec::new(), MAX_CHANGE);
    for span in spans.into_iter().take(MAX_SPANS) {
        match left.checked_sub(span.removed() + span.inserted()) {
            Some(rest) => {
                left = rest;
                out.push(span);
            }
            None if out.is_empty() => return vec![part(text, &span)],
            None => break,
        }
    }
    out
}

/// The beginning of what a span inserts, or if it inserts nothing, of what it removes; without half
/// a character.
fn part(text: &Text, span: &Span) -> Span {
    let mut length = 0;
    let fits = |char: &char| {
        length += char.len_utf16();
        length <= MAX_CHANGE
    };
    let insert: String = span.insert.chars().take_while(fits).collect();
    if !insert.is_empty() {
        return Span::new(span.from, span.from, insert);
    }
    let to = span.from + MAX_CHANGE;
    Span::new(span.from, to - usize::from(text.position(to).is_err()), "")
}
