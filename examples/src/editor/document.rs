//! A document: the text, its version, and the latest accepted edits.

use std::sync::Arc;

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};
use webbft_protocol::membership::{Cid, ClientId};
use webbft_protocol::time::UnixMicros;

use super::rebase::{Span, Tie, check, rebase};
use super::text::{MAX_TEXT, Text, TextError};

/// How many accepted edits a document remembers.
pub const MAX_LOG_EDITS: usize = 1000;
/// How many bytes of JSON these may take together; the oldest are forgotten first.
///
/// An operation has at most 1 MiB. Rebasing can make its numbers longer, and split a deletion
/// once for each insertion in the log: both together stay below the 4 MiB of an event.
pub const MAX_LOG_BYTES: usize = 3 << 19;

/// An accepted edit, as it is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "EditEvent"))]
pub struct Event {
    /// The version that it makes.
    pub version: u64,
    /// Who made the edit.
    #[cfg_attr(test, ts(type = "string"))]
    pub author: ClientId,
    /// What the author named it, to recognise it.
    pub tag: String,
    /// The agreed time of its acceptance, in microseconds since the Unix epoch.
    #[cfg_attr(test, ts(type = "number"))]
    pub time: UnixMicros,
    /// What it replaces in the text of the version before.
    pub spans: Vec<Span>,
}

/// A document. A clone shares everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    pub(super) text: Text,
    /// The number of edits accepted so far.
    pub(super) version: u64,
    /// The instance of the last one, or of the creation.
    pub(super) changed: Cid,
    /// The agreed time of that instance.
    pub(super) time: UnixMicros,
    /// The text of version [`Document::oldest`]. It shares what has not changed with `text`.
    pub(super) oldest_text: Text,
    /// The latest edits by the version that they made; the last is `version`.
    log: RedBlackTreeMapSync<u64, Arc<Entry>>,
    log_bytes: usize,
}

/// An accepted edit in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    event: Event,
    /// The length of the text before it, in UTF-16 code units.
    before: usize,
    /// What takes it back.
    undo: Vec<Span>,
    /// Of the event's JSON form.
    bytes: usize,
}

impl Document {
    /// An empty document of version 0.
    pub(super) fn created(cid: Cid, time: UnixMicros) -> Self {
        Self { changed: cid, time, ..Self::default() }
    }

    /// What counts as its size: its text now, or the oldest that is kept, whichever is larger.
    ///
    /// The texts share memory; what the one has and the other has not is in the log.
    pub(super) fn size(&self) -> usize {
        self.text.len_json().max(self.oldest_text.len_json())
    }

    /// The lowest version that an edit may be based on, and that the history begins with.
    pub(super) fn oldest(&self) -> u64 {
        self.log.first().map_or(self.version, |(version, _)| version - 1)
    }

    /// The length of the text of `version`, between [`Document::oldest`] and the last.
    pub(super) fn length_at(&self, version: u64) -> usize {
        self.log.get(&(version + 1)).map_or(self.text.len_utf16(), |entry| entry.before)
    }

    /// The text of `version`, between [`Document::oldest`] and the last.
    pub(super) fn text_at(&self, version: u64) -> Text {
        let mut text = self.text.clone();
        for (_, entry) in self.log.range(version + 1..).rev() {
            text.apply(&entry.undo).expect("the edit led to this text");
        }
        text
    }

    /// The accepted edits after `version`.
    pub(super) fn since(&self, version: u64) -> impl Iterator<Item = &Event> {
        self.log.range(version + 1..).map(|(_, entry)| &entry.event)
    }

    /// Restates an edit of version `base` for the current version.
    pub(super) fn rebase(&self, spans: Vec<Span>, base: u64) -> Vec<Span> {
        self.since(base).fold(spans, |spans, event| rebase(spans, &event.spans, Tie::AcceptedFirst))
    }

    /// Applies an edit of the current version and gives it the next.
    pub(super) fn accept(&mut self, event: Event, cid: Cid) -> Result<Vec<u8>, TextError> {
        let before = self.text.len_utf16();
        let undo = self.text.undo(&event.spans)?;
        self.text.apply(&event.spans)?;
        self.version = event.version;
        self.changed = cid;
        self.time = event.time;
        let payload = serde_json::to_vec(&event).expect("numbers and strings serialise");
        self.remember(Entry { event, before, undo, bytes: payload.len() });
        Ok(payload)
    }

    fn remember(&mut self, entry: Entry) {
        self.log_bytes += entry.bytes;
        self.log.insert_mut(entry.event.version, Arc::new(entry));
        while self.log.size() > MAX_LOG_EDITS || self.log_bytes > MAX_LOG_BYTES {
            let Some((version, oldest)) = self.log.first() else { break };
            let (version, oldest) = (*version, Arc::clone(oldest));
            self.oldest_text.apply(&oldest.event.spans).expect("it was accepted for this text");
            self.log_bytes -= oldest.bytes;
            self.log.remove_mut(&version);
        }
    }
}

/// A document in a snapshot.
#[derive(Serialize, Deserialize)]
pub(super) struct Saved {
    /// The oldest version that is known, and its text.
    oldest: u64,
    text: String,
    /// The log, from the oldest edit.
    edits: Vec<Event>,
    changed: Cid,
    time: UnixMicros,
}

impl From<&Document> for Saved {
    fn from(document: &Document) -> Self {
        let oldest = document.oldest();
        Self {
            oldest,
            text: document.oldest_text.to_string(),
            edits: document.since(oldest).cloned().collect(),
            changed: document.changed,
            time: document.time,
        }
    }
}

impl TryFrom<Saved> for Document {
    type Error = String;

    fn try_from(saved: Saved) -> Result<Self, String> {
        let Saved { oldest, text, edits, changed, time } = saved;
        let text = Text::from(text.as_str());
        if text.len_json() > MAX_TEXT {
            return Err("its oldest text is too long".to_owned());
        }
        if oldest == 0 && text.len_json() > 0 {
            return Err("it begins with a text that nobody has typed".to_owned());
        }
        if edits.last().is_some_and(|last| last.time != time) {
            return Err("it was not changed at the time of its last edit".to_owned());
        }
        let mut document =
            Self { oldest_text: text.clone(), text, version: oldest, ..Self::default() };
        for event in edits {
            let version = event.version;
            if Some(version) != document.version.checked_add(1) {
                return Err(format!("edit {version} is out of place in the log"));
            }
            check(&event.spans).map_err(|error| format!("edit {version}: {error}"))?;
            document.accept(event, changed).map_err(|error| format!("edit {version}: {error}"))?;
        }
        if document.oldest() != oldest {
            return Err("its log is too large".to_owned());
        }
        (document.changed, document.time) = (changed, time);
        Ok(document)
    }
}
