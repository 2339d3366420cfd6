//! A collaborative text editor: several people type into one document at the same time.
//!
//! | operation | result |
//! |---|---|
//! | `{"op":"edit","doc":"notes","base":7,"tag":"x1","spans":[{"from":3,"to":5,"insert":"new"}]}` | `{"version":9}` |
//! | `{"op":"create","doc":"notes"}` | `{"version":0}` |
//! | `{"op":"read","doc":"notes"}` (also a query) | `{"version":9,"text":"…"}` |
//! | `{"op":"since","doc":"notes","version":7}` (a query only) | `{"version":9,"edits":[event 8, event 9]}` |
//! | `{"op":"history","doc":"notes"}` (a query only) | `{"oldest":2,"version":9,"text":"text of version 2"}` |
//! | `{"op":"list"}` (a query only) | `{"documents":[{"doc":"notes","version":9,"length":5,"changed":<microseconds>}]}` |
//!
//! A document is a text with a version: the number of edits accepted so far. A client edits the
//! version it knows, `base`; the replicas rebase the spans over what was accepted since
//! ([`rebase`](rebase::rebase)) and publish every accepted edit on the topic `doc/<name>`, where
//! event number k takes the text from version k − 1 to version k:
//!
//! `{"version":9,"author":"<client id>","tag":"x1","time":<microseconds>,"spans":[…]}`
//!
//! A new document is an event on the topic `docs`: `{"doc":"notes","version":0}`.
//!
//! Positions count UTF-16 code units, as JavaScript strings do. docs/editor.md has the whole
//! format, and why the edits are spans and not fuzzy patches.
//!
//! Read the files in this order: `rebase.rs` (the rule, on its own), `text.rs` (the text),
//! `document.rs` (text, version and log), `service.rs` (operations, results, limits). `diffsync` is
//! the paper's editor, to compare with; it differs in what `merge.rs` names.

pub mod diffsync;
mod document;
mod merge;
pub mod rebase;
mod service;
mod text;

pub use diffsync::DiffSync;
pub use document::{Event, MAX_LOG_BYTES, MAX_LOG_EDITS};
pub use merge::{Merge, Rebase};
pub use service::{
    DOCS_TOPIC, DiffSyncEditor, DocName, Documents, Edited, Editor, EditorService, Edits, Error,
    History, Listed, MAX_DOCUMENTS, MAX_REBASE_STEPS, MAX_TOTAL, NewDocument, Operation, Problem,
    Query, Read, Reply, Tag,
};
pub use text::{MAX_TEXT, Text, TextError};
