//! A text that is edited at UTF-16 positions.

use ropey::Rope;
use webbft_protocol::wire::limits::MAX_RESULT;

use super::rebase::Span;

/// The largest text, in bytes of its JSON form without the quotes (so that reading it stays below
/// the wire's [`MAX_RESULT`]). Each UTF-16 code unit takes at least one: this also bounds them.
pub const MAX_TEXT: usize = MAX_RESULT - 1024;

/// A rope: a clone shares everything, and an edit costs the logarithm of the text's length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text {
    rope: Rope,
    /// Bytes of its JSON form.
    encoded: usize,
}

/// An edit that does not fit the text: the edit's author is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// A span ends behind the text.
    #[error("a span ends behind the text, which has {length} UTF-16 code units")]
    OutOfRange {
        /// The text's length.
        length: usize,
    },
    /// A span begins or ends between the two code units of one character.
    #[error("position {at} is inside a surrogate pair; move it by one")]
    SplitsSurrogate {
        /// The position.
        at: usize,
    },
    /// The text would become larger than [`MAX_TEXT`].
    #[error("the text would become too long; at most {limit} bytes of JSON are allowed")]
    TooLong {
        /// The limit.
        limit: usize,
    },
}

impl Text {
    /// The length in UTF-16 code units.
    #[must_use]
    pub fn len_utf16(&self) -> usize {
        self.rope.len_utf16_cu()
    }

    /// The length of its JSON form in bytes, without the quotes.
    #[must_use]
    pub fn len_json(&self) -> usize {
        self.encoded
    }

    /// Applies an edit whose spans are in order ([`check`](super::rebase::check)).
    ///
    /// # Errors
    /// Where the edit does not fit; nothing is changed then.
    pub fn apply(&mut self, spans: &[Span]) -> Result<(), TextError> {
        let mut edits = Vec::with_capacity(spans.len());
        let (mut removed, mut inserted) = (0, 0);
        for span in spans {
            let (from, to) = (self.position(span.from)?, self.position(span.to)?);
            removed += encoded_len(self.rope.slice(from..to).chars());
            inserted += encoded_len(span.insert.chars());
            edits.push((from, to, span.insert.as_str()));
        }
        let encoded = self.encoded + inserted - removed;
        if encoded > MAX_TEXT {
            return Err(TextError::TooLong { limit: MAX_TEXT });
        }
        // From the last to the first, so that the positions of the others stay right.
        for (from, to, insert) in edits.into_iter().rev() {
            self.rope.remove(from..to);
            self.rope.insert(from, insert);
        }
        self.encoded = encoded;
        Ok(())
    }

    /// The edit that takes the edit `spans` back.
    ///
    /// # Errors
    /// Where a span does not fit.
    pub(super) fn undo(&self, spans: &[Span]) -> Result<Vec<Span>, TextError> {
        let (mut added, mut removed) = (0, 0);
        let mut undo = Vec::with_capacity(spans.len());
        for span in spans {
            let (from, to) = (self.position(span.from)?, self.position(span.to)?);
            let at = span.from + added - removed;
            let inserted = span.inserted();
            undo.push(Span::new(at, at + inserted, self.rope.slice(from..to)));
            added += inserted;
            removed += span.removed();
        }
        Ok(undo)
    }

    /// The rope's position, in characters.
    pub(super) fn position(&self, utf16: usize) -> Result<usize, TextError> {
        if utf16 > self.len_utf16() {
            return Err(TextError::OutOfRange { length: self.len_utf16() });
        }
        let position = self.rope.utf16_cu_to_char(utf16);
        if self.rope.char_to_utf16_cu(position) == utf16 {
            Ok(position)
        } else {
            Err(TextError::SplitsSurrogate { at: utf16 })
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self { rope: Rope::from_str(text), encoded: encoded_len(text.chars()) }
    }
}

impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.rope.fmt(f)
    }
}

/// The bytes that these characters take in JSON.
fn encoded_len(chars: impl Iterator<Item = char>) -> usize {
    chars
        .map(|char| match char {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            '\0'..'\u{20}' => 6,
            _ => char.len_utf8(),
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_utf16() {
        let mut text = Text::from("a😀é");
        let edit = [Span::new(1, 1, "x"), Span::new(1, 3, "😀😀"), Span::new(4, 4, "!")];
        assert_eq!(text.apply(&edit), Ok(()));
        assert_eq!((text.to_string(), text.len_utf16()), ("ax😀😀é!".to_owned(), 8));
        assert_eq!(text, Text::from("ax😀😀é!"));
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let mut text = Text::from("a😀");
        for (span, error) in [
            (Span::new(0, 4, ""), TextError::OutOfRange { length: 3 }),
            (Span::new(9, 9, "x"), TextError::OutOfRange { length: 3 }),
            (Span::new(2, 2, "x"), TextError::SplitsSurrogate { at: 2 }),
            (Span::new(0, 2, ""), TextError::SplitsSurrogate { at: 2 }),
            (Span::new(2, 3, ""), TextError::SplitsSurrogate { at: 2 }),
            (Span::new(0, 1, "\u{1}".repeat(MAX_TEXT / 6)), TextError::TooLong { limit: MAX_TEXT }),
        ] {
            assert_eq!(text.apply(&[Span::new(0, 0, "y"), span]), Err(error));
            assert_eq!(text, Text::from("a😀"));
        }
    }

    #[test]
    fn the_json_form_is_measured_exactly() {
        let all: String =
            (0..0x3000).chain(0x1_f600..0x1_f610).filter_map(char::from_u32).collect();
        let json = serde_json::to_string(&all).unwrap();
        let mut text = Text::default();
        text.apply(&[Span::new(0, 0, all.clone())]).unwrap();
        assert_eq!(text.len_json(), json.len() - 2);
        text.apply(&[Span::new(1, 40, "\"\u{7f}")]).unwrap();
        assert_eq!(text.len_json(), serde_json::to_string(&text.to_string()).unwrap().len() - 2);
        text.apply(&[Span::new(0, text.len_utf16(), "")]).unwrap();
        assert_eq!(text, Text::default());
    }
}
