//! A document: the text, its version, and the latest accepted edits.

use std::sync::Arc;

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};
use webbft_protocol::membership::{Cid, ClientId};
use webbft_protocol::time::UnixMicros;

use super::rebase::{Span, Tie, check, length_after, rebase};
use super::text::{Text, TextError};

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
pub(super) struct Document {
    pub(super) text: Text,
    /// The number of edits accepted so far.
    pub(super) version: u64,
    /// The instance of the last one.
    pub(super) changed: Cid,
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
    /// Of the event's JSON form.
    bytes: usize,
}

impl Document {
    /// The lowest version that an edit may be based on.
    pub(super) fn oldest(&self) -> u64 {
        self.log.first().map_or(self.version, |(version, _)| version - 1)
    }

    /// The length of the text of `version`, between [`Document::oldest`] and the last.
    pub(super) fn length_at(&self, version: u64) -> usize {
        self.log.get(&(version + 1)).map_or(self.text.len_utf16(), |entry| entry.before)
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
        self.text.apply(&event.spans)?;
        self.version = event.version;
        self.changed = cid;
        let payload = serde_json::to_vec(&event).expect("numbers and strings serialise");
        self.remember(Entry { event, before, bytes: payload.len() });
        Ok(payload)
    }

    fn remember(&mut self, entry: Entry) {
        self.log_bytes += entry.bytes;
        self.log.insert_mut(entry.event.version, Arc::new(entry));
        while self.log.size() > MAX_LOG_EDITS || self.log_bytes > MAX_LOG_BYTES {
            let Some((version, oldest)) = self.log.first() else { break };
            let (version, bytes) = (*version, oldest.bytes);
            self.log_bytes -= bytes;
            self.log.remove_mut(&version);
        }
    }
}

/// A document in a snapshot.
#[derive(Serialize, Deserialize)]
pub(super) struct Saved {
    text: String,
    version: u64,
    changed: Cid,
    /// The log, from the oldest edit.
    edits: Vec<Event>,
    /// The length of the text before them, in UTF-16 code units.
    before: usize,
}

impl From<&Document> for Saved {
    fn from(document: &Document) -> Self {
        Self {
            text: document.text.to_string(),
            version: document.version,
            changed: document.changed,
            edits: document.since(document.oldest()).cloned().collect(),
            before: document.length_at(document.oldest()),
        }
    }
}

impl TryFrom<Saved> for Document {
    type Error = String;

    fn try_from(saved: Saved) -> Result<Self, String> {
        let Saved { text, version, changed, edits, before } = saved;
        let text = Text::from(text.as_str());
        let mut document = Self { text, version, changed, ..Self::default() };
        let (mut length, mut left) = (before, edits.len() as u64);
        for event in edits {
            left -= 1;
            if event.version == 0 || event.version.checked_add(left) != Some(version) {
                return Err(format!("edit {} is out of place in the log", event.version));
            }
            check(&event.spans)?;
            if event.spans.last().is_some_and(|last| last.to > length) {
                return Err(format!("edit {} ends behind the text", event.version));
            }
            let before = length;
            length = length_after(&event.spans, length);
            let bytes = serde_json::to_vec(&event).map_err(|error| error.to_string())?.len();
            document.remember(Entry { event, before, bytes });
        }
        if length != document.text.len_utf16() {
            return Err("the log does not lead to the text".to_owned());
        }
        Ok(document)
    }
}
