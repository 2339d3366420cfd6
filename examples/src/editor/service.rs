//! The service: named documents, operations on them, and limits.

use std::marker::PhantomData;

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};
use webbft_protocol::execution::{Context, JsonService, RestoreError};
use webbft_protocol::membership::Cid;
use webbft_protocol::time::UnixMicros;
use webbft_protocol::wire;

use super::diffsync::DiffSync;
use super::document::{Document, Event, Saved};
use super::merge::{Merge, Rebase};
use super::rebase::{Span, check, normalise, utf16_len};
use super::text::TextError;

/// How many documents there may be. They are never deleted.
pub const MAX_DOCUMENTS: usize = 256;
/// How large all texts together may be, counted as for [`MAX_TEXT`](super::MAX_TEXT); of each
/// document the text now, or the oldest that is kept for `history`, whichever is larger.
pub const MAX_TOTAL: usize = 64 << 20;
/// The most work that a rebase may be, in spans × accepted edits: an edit of very many spans must
/// be based on a more recent version than others.
pub const MAX_REBASE_STEPS: usize = 4 << 20;

/// Named documents, edits of which are merged as `M` says. A clone shares everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditorService<M> {
    documents: RedBlackTreeMapSync<String, Document>,
    /// The size of all documents.
    size: usize,
    merge: PhantomData<M>,
}

/// The editor.
pub type Editor = EditorService<Rebase>;

/// The editor in the paper's mode, see [`diffsync`](super::diffsync).
pub type DiffSyncEditor = EditorService<DiffSync>;

/// The topic of new documents.
pub const DOCS_TOPIC: &str = "docs";

/// What a client may ask for in the total order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(tag = "op", rename_all = "camelCase", deny_unknown_fields)]
pub enum Operation {
    /// Creates an empty document, which nobody may have created or edited before.
    Create {
        /// Which document.
        doc: DocName,
    },
    /// Changes a document; the first edit, with base 0, creates it where nobody has.
    Edit {
        /// Which document.
        doc: DocName,
        /// The version that the spans refer to.
        base: u64,
        /// Any short text, given back in the event so that the author recognises the edit.
        tag: Tag,
        /// What to replace.
        spans: Vec<Span>,
    },
    /// Reads a document in the total order.
    Read {
        /// Which document.
        doc: DocName,
    },
}

/// What a client may read without ordering.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(tag = "op", rename_all = "camelCase", deny_unknown_fields)]
pub enum Query {
    /// Reads a document; one that does not exist is empty, with version 0.
    Read {
        /// Which document.
        doc: DocName,
    },
    /// Reads the edits that were accepted after a version.
    Since {
        /// Which document.
        doc: DocName,
        /// The version.
        version: u64,
    },
    /// Reads the oldest text that is known: the edits after it, by `since`, lead to all later ones.
    History {
        /// Which document.
        doc: DocName,
    },
    /// Lists the documents.
    List {},
}

/// The results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// Of `since`.
    Edits(Edits),
    /// Of `read`.
    Read(Read),
    /// Of `create` and `edit`.
    Edited(Edited),
    /// Of `history`.
    History(History),
    /// Of `list`.
    Documents(Documents),
}

/// What `since` gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Edits {
    /// The current version.
    pub version: u64,
    /// The edits that lead to it, in order.
    pub edits: Vec<Event>,
}

/// What `read` gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Read {
    /// The current version.
    pub version: u64,
    /// Its text.
    pub text: String,
}

/// What `create` and `edit` give.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Edited {
    /// The version that the edit made; 0 for a new document.
    pub version: u64,
}

/// What `history` gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "DocHistory"))]
pub struct History {
    /// The lowest version that `since` takes.
    pub oldest: u64,
    /// The current version.
    pub version: u64,
    /// The text of version `oldest`.
    pub text: String,
}

/// What `list` gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Documents {
    /// In order of their names.
    pub documents: Vec<Listed>,
}

/// A document in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Listed {
    /// Its name.
    pub doc: String,
    /// Its current version.
    pub version: u64,
    /// The length of its text, in UTF-16 code units.
    pub length: usize,
    /// When it was last edited, or created: the agreed time in microseconds since the Unix epoch.
    #[cfg_attr(test, ts(type = "number"))]
    pub changed: UnixMicros,
}

/// The event of a new document, on the topic [`DOCS_TOPIC`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct NewDocument {
    /// Its name.
    pub doc: String,
    /// Its version: 0, or 1 where an edit created it.
    pub version: u64,
}

/// An operation or query that cannot be done in this state; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "EditorError"))]
pub struct Error {
    /// The code and its numbers.
    #[serde(flatten)]
    pub problem: Problem,
    /// The problem in words, with what to do.
    pub message: String,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(tag = "code", rename_all = "camelCase")]
pub enum Problem {
    /// The edits since that version are no longer all known.
    #[error("that version is too old, the oldest usable one is {oldest}: read the document again")]
    TooOld {
        /// The lowest version that can be used.
        oldest: u64,
    },
    /// That version does not exist yet.
    #[error("that version does not exist, the last one is {version}: read the document again")]
    Future {
        /// The current version.
        version: u64,
    },
    /// A span ends behind the text.
    #[error("a span ends behind the text, which has {length} UTF-16 code units at that version")]
    OutOfRange {
        /// The length of the text at the edit's base.
        length: usize,
    },
    /// A span begins or ends between the two code units of one character.
    #[error("position {at} is inside a surrogate pair: move it by one")]
    SplitsSurrogate {
        /// The position, in the text at the edit's base.
        at: usize,
    },
    /// The text would be too large.
    #[error("the text would take more than {limit} bytes as JSON: start another document")]
    TooLong {
        /// [`MAX_TEXT`](super::MAX_TEXT).
        limit: usize,
    },
    /// The spans are not in order.
    #[error("{reason}")]
    MalformedSpans {
        /// In words.
        #[serde(skip)]
        reason: String,
    },
    /// Only in the paper's mode: the edit changes too much at once.
    #[error(
        "the edit is too large: at most {limit} UTF-16 code units removed and inserted, in at most \
         {spans} spans; divide it"
    )]
    TooLarge {
        /// [`MAX_CHANGE`](super::diffsync::MAX_CHANGE).
        limit: usize,
        /// [`MAX_SPANS`](super::diffsync::MAX_SPANS).
        spans: usize,
    },
    /// Only in the paper's mode: diff-match-patch fails on this edit and this text.
    #[error("the edit cannot be patched into the current text: read the document again")]
    PatchFailed,
    /// The document to be created exists.
    #[error("there is a document of that name already: open it, or take another name")]
    Exists {
        /// Its current version.
        version: u64,
    },
    /// There are [`MAX_DOCUMENTS`] documents, or they are [`MAX_TOTAL`] together.
    #[error("no room: at most {documents} documents, and {size} bytes as JSON in all")]
    Full {
        /// [`MAX_DOCUMENTS`].
        documents: usize,
        /// [`MAX_TOTAL`].
        size: usize,
    },
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self { message: problem.to_string(), problem }
    }
}

/// A document's name: 1 to 64 letters, digits, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(type = "string"))]
#[serde(try_from = "String")]
pub struct DocName(String);

impl DocName {
    /// The topic of the document's edits.
    #[must_use]
    pub fn topic(&self) -> String {
        format!("doc/{}", self.0)
    }
}

impl TryFrom<String> for DocName {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        let fits = |char: char| char.is_ascii_alphanumeric() || char == '_' || char == '-';
        if (1..=64).contains(&name.len()) && name.chars().all(fits) {
            Ok(Self(name))
        } else {
            Err("a document's name has 1 to 64 of the characters A-Z a-z 0-9 _ -".to_owned())
        }
    }
}

/// An edit's name: at most 32 UTF-16 code units.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(type = "string"))]
#[serde(try_from = "String")]
pub struct Tag(String);

impl TryFrom<String> for Tag {
    type Error = String;
    fn try_from(tag: String) -> Result<Self, String> {
        match utf16_len(&tag) {
            0..=32 => Ok(Self(tag)),
            length => Err(format!("a tag has at most 32 UTF-16 code units; this one has {length}")),
        }
    }
}

impl<M> Default for EditorService<M> {
    fn default() -> Self {
        Self { documents: RedBlackTreeMapSync::new_sync(), size: 0, merge: PhantomData }
    }
}

impl<M: Merge> EditorService<M> {
    fn document(&self, doc: &DocName) -> Document {
        self.documents.get(&doc.0).cloned().unwrap_or_default()
    }

    fn read(&self, doc: &DocName) -> Reply {
        let document = self.document(doc);
        Reply::Read(Read { version: document.version, text: document.text.to_string() })
    }

    fn list(&self) -> (Reply, Cid) {
        let listed = self.documents.iter().map(|(doc, document)| Listed {
            doc: doc.clone(),
            version: document.version,
            length: document.text.len_utf16(),
            changed: document.time,
        });
        let as_of = self.documents.values().map(|document| document.changed).max();
        (Reply::Documents(Documents { documents: listed.collect() }), as_of.unwrap_or(Cid::ZERO))
    }

    fn create(&mut self, doc: &DocName, context: &mut Context<'_>) -> Result<Reply, Problem> {
        if let Some(document) = self.documents.get(&doc.0) {
            return Err(Problem::Exists { version: document.version });
        }
        self.put(doc, Document::created(context.cid, context.time), context)?;
        Ok(Reply::Edited(Edited { version: 0 }))
    }

    /// Takes in a document that is new or has changed, if there is room.
    ///
    /// For a text that has not become longer there always is, so that a full service can be
    /// tidied: what an edit deletes counts until the oldest kept text is without it, too.
    fn put(
        &mut self,
        doc: &DocName,
        document: Document,
        context: &mut Context<'_>,
    ) -> Result<(), Problem> {
        let old = self.documents.get(&doc.0);
        let size = self.size + document.size() - old.map_or(0, Document::size);
        let longer = document.text.len_json() > old.map_or(0, |old| old.text.len_json());
        let new = old.is_none();
        if (new && self.documents.size() >= MAX_DOCUMENTS) || (longer && size > MAX_TOTAL) {
            return Err(Problem::Full { documents: MAX_DOCUMENTS, size: MAX_TOTAL });
        }
        if new {
            let event = NewDocument { doc: doc.0.clone(), version: document.version };
            let payload = serde_json::to_vec(&event).expect("a number and a string serialise");
            context.publish(DOCS_TOPIC, payload);
        }
        self.size = size;
        self.documents.insert_mut(doc.0.clone(), document);
        Ok(())
    }

    fn edit(
        &mut self,
        doc: &DocName,
        base: u64,
        tag: Tag,
        spans: Vec<Span>,
        context: &mut Context<'_>,
    ) -> Result<Reply, Problem> {
        let mut document = self.document(doc);
        check(&spans).map_err(|reason| Problem::MalformedSpans { reason })?;
        let spans = normalise(spans);
        check_version(&document, base, spans.len())?;
        let length = document.length_at(base);
        if spans.last().is_some_and(|last| last.to > length) {
            return Err(Problem::OutOfRange { length });
        }

        let restated = M::restate(&document, spans.clone(), base)?;
        let event = Event {
            version: document.version + 1,
            author: context.client,
            tag: tag.0,
            time: context.time,
            spans: restated,
        };
        let length = document.text.len_json();
        let payload = document.accept(event, context.cid).map_err(|error| match error {
            TextError::SplitsSurrogate { at } => {
                let at = split_at_base(&document, &spans, base).unwrap_or(at);
                Problem::SplitsSurrogate { at }
            }
            TextError::OutOfRange { length } => Problem::OutOfRange { length },
            TextError::TooLong { limit } => Problem::TooLong { limit },
        })?;

        if document.text.len_json() > M::MAX_TEXT.max(length) {
            return Err(Problem::TooLong { limit: M::MAX_TEXT });
        }
        let version = document.version;
        self.put(doc, document, context)?;
        context.publish(doc.topic(), payload);
        Ok(Reply::Edited(Edited { version }))
    }
}

/// Whether an edit of `spans` spans, or `since`, can start from `version`.
fn check_version(document: &Document, version: u64, spans: usize) -> Result<(), Problem> {
    if version > document.version {
        return Err(Problem::Future { version: document.version });
    }
    let reach = MAX_REBASE_STEPS / spans.max(1);
    let oldest = document.oldest().max(document.version.saturating_sub(reach as u64));
    if version < oldest {
        return Err(Problem::TooOld { oldest });
    }
    Ok(())
}

/// Which position of an edit of version `base` splits a surrogate pair of the current text.
fn split_at_base(document: &Document, spans: &[Span], base: u64) -> Option<usize> {
    spans.iter().flat_map(|span| [span.from, span.to]).find(|&at| {
        let now = document.rebase(vec![Span::new(at, at, " ")], base);
        now.first().is_some_and(|point| document.text.position(point.from).is_err())
    })
}

impl<M: Merge> JsonService for EditorService<M> {
    type Operation = Operation;
    type Query = Query;
    type Reply = Reply;
    type Error = Error;

    fn execute(&mut self, operation: Operation, context: &mut Context<'_>) -> Result<Reply, Error> {
        match operation {
            Operation::Create { doc } => self.create(&doc, context).map_err(Error::from),
            Operation::Edit { doc, base, tag, spans } => {
                self.edit(&doc, base, tag, spans, context).map_err(Error::from)
            }
            Operation::Read { doc } => Ok(self.read(&doc)),
        }
    }

    /// Every answer but the list depends on the edits of one document alone, hence holds as of the
    /// last.
    fn query(&self, query: Query) -> (Result<Reply, Error>, Option<Cid>) {
        match query {
            Query::Read { doc } => (Ok(self.read(&doc)), Some(self.document(&doc).changed)),
            Query::Since { doc, version } => {
                let document = self.document(&doc);
                let result = check_version(&document, version, 0).map(|()| {
                    let edits = document.since(version).cloned().collect();
                    Reply::Edits(Edits { version: document.version, edits })
                });
                (result.map_err(Error::from), Some(document.changed))
            }
            Query::History { doc } => {
                let document = self.document(&doc);
                let (oldest, version) = (document.oldest(), document.version);
                let text = document.oldest_text.to_string();
                (Ok(Reply::History(History { oldest, version, text })), Some(document.changed))
            }
            Query::List {} => {
                let (list, as_of) = self.list();
                (Ok(list), Some(as_of))
            }
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        let documents: Vec<(&String, Saved)> =
            self.documents.iter().map(|(name, document)| (name, document.into())).collect();
        wire::encode(&documents)
    }

    fn restore(snapshot: &[u8]) -> Result<Self, RestoreError> {
        let saved: Vec<(String, Saved)> =
            wire::decode(snapshot).map_err(|error| RestoreError(error.to_string()))?;
        let mut editor = Self::default();
        for (name, saved) in saved {
            let wrong = |error: String| RestoreError(format!("document {name}: {error}"));
            let DocName(name) = DocName::try_from(name.clone()).map_err(wrong)?;
            if editor.documents.last().is_some_and(|(last, _)| *last >= name) {
                return Err(wrong("it is not behind those with lower names".to_owned()));
            }
            let document = Document::try_from(saved).map_err(wrong)?;
            editor.size += document.size();
            editor.documents.insert_mut(name, document);
        }
        if editor.documents.size() > MAX_DOCUMENTS {
            return Err(RestoreError(format!("more than {MAX_DOCUMENTS} documents")));
        }
        Ok(editor)
    }
}

#[cfg(test)]
mod tests;
