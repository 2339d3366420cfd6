//! All replicated state as bytes, and back (rule C2).

use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::executor::{CheckpointSchedule, ExecutionLimits, Executor, Position};
use super::service::{RestoreError, Service};
use super::sessions::{CachedReply, Session, Sessions};
use super::topics::{Event, TopicState, Topics};
use crate::membership::{Cid, Digest, ViewNumber};
use crate::time::UnixMicros;
use crate::wire::limits::{CHUNK_BYTES, MAX_CLIENT_FRAME, MAX_RESULT};
use crate::wire::{CheckpointId, Manifest, SessionKey, Topic, encode};

/// The layout of the protocol's part of a snapshot.
const FORMAT: u32 = 1;

/// A snapshot that cannot be used. On one that a quorum signed, this replica's program is to
/// blame, else its disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Chunks are missing or too many.
    #[error("{found} chunks where the manifest names {named}")]
    Count {
        /// In the manifest.
        named: usize,
        /// Found.
        found: usize,
    },
    /// A manifest that contradicts itself.
    #[error("the manifest's chunks do not fit its lengths")]
    Manifest,
    /// A chunk is damaged.
    #[error("chunk {0} is not the one that the manifest names")]
    Chunk(usize),
    /// Written by another version of the program.
    #[error("the snapshot has format {0}; this program reads format {FORMAT}")]
    Format(u32),
    /// The protocol's part is malformed, or no sequence of batches leads to it.
    #[error("the snapshot's {0} cannot be right")]
    Invalid(&'static str),
    /// The service does not take it.
    #[error(transparent)]
    Service(#[from] RestoreError),
    /// The service panicked.
    #[error("the service panicked on the snapshot")]
    Panicked,
}

/// The state after an instance, as bytes. Cloning shares them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    id: CheckpointId,
    manifest: Manifest,
    chunks: Vec<Bytes>,
}

impl Snapshot {
    /// Cuts the two parts of a state into chunks.
    fn cut(cid: Cid, hash: Digest, service: Vec<u8>, protocol: Vec<u8>) -> Self {
        let (service_bytes, protocol_bytes) = (service.len() as u64, protocol.len() as u64);
        let chunks: Vec<Bytes> = [service, protocol].into_iter().flat_map(cut).collect();
        let digests = chunks.iter().map(|chunk| Digest::of(chunk)).collect();
        let manifest = Manifest { cid, hash, service_bytes, protocol_bytes, chunks: digests };
        Self { id: manifest.id(), manifest, chunks }
    }

    /// A snapshot that was stored or transferred.
    ///
    /// # Errors
    /// Where the chunks are not exactly those of the manifest.
    pub fn from_parts(manifest: Manifest, chunks: Vec<Bytes>) -> Result<Self, SnapshotError> {
        if !manifest.within_limits() {
            return Err(SnapshotError::Manifest);
        }
        let (named, found) = (manifest.chunks.len(), chunks.len());
        if named != found {
            return Err(SnapshotError::Count { named, found });
        }
        for (index, chunk) in chunks.iter().enumerate() {
            if chunk.len() != manifest.chunk_len(index)
                || Digest::of(chunk) != manifest.chunks[index]
            {
                return Err(SnapshotError::Chunk(index));
            }
        }
        Ok(Self { id: manifest.id(), manifest, chunks })
    }

    /// What a CHECKPOINT of it says.
    #[must_use]
    pub const fn id(&self) -> CheckpointId {
        self.id
    }

    /// What it consists of.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its chunks, in the manifest's order.
    #[must_use]
    pub fn chunks(&self) -> &[Bytes] {
        &self.chunks
    }

    /// Its length in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.manifest.service_bytes + self.manifest.protocol_bytes
    }
}

fn cut(part: Vec<u8>) -> impl Iterator<Item = Bytes> {
    let part = Bytes::from(part);
    let starts = (0..part.len()).step_by(CHUNK_BYTES);
    starts.map(move |start| part.slice(start..part.len().min(start + CHUNK_BYTES)))
}

/// One part in one piece.
fn joined(chunks: &[Bytes]) -> Bytes {
    match chunks {
        [one] => one.clone(),
        several => several.concat().into(),
    }
}

#[derive(Serialize, Deserialize)]
struct SavedHeader {
    format: u32,
    time: UnixMicros,
    horizon: UnixMicros,
    schedule: CheckpointSchedule,
    sessions: u64,
    topics: u64,
}

#[derive(Serialize, Deserialize)]
struct SavedSession {
    key: SessionKey,
    last_time: UnixMicros,
    last_number: u64,
    /// The last ones, up to `last_number`.
    replies: Vec<(ViewNumber, Cid, Bytes)>,
    subscriptions: Vec<Topic>,
}

#[derive(Serialize, Deserialize)]
struct SavedTopic {
    topic: Topic,
    head: u64,
    /// The last ones, up to `head`.
    events: Vec<(ViewNumber, Cid, Bytes)>,
}

impl SavedSession {
    fn of(key: SessionKey, session: &Session) -> Self {
        Self {
            key,
            last_time: session.last_time,
            last_number: session.last_number,
            replies: session
                .replies
                .iter()
                .map(|reply| (reply.view, reply.cid, reply.result.clone()))
                .collect(),
            subscriptions: session.subscriptions.iter().cloned().collect(),
        }
    }
}

impl SavedTopic {
    fn of(topic: &Topic, state: &TopicState) -> Self {
        Self {
            topic: topic.clone(),
            head: state.head,
            events: state
                .ring
                .iter()
                .map(|event| (event.view, event.cid, event.payload.clone()))
                .collect(),
        }
    }
}

impl<S: Service> Executor<S> {
    /// The whole state as bytes; equal states give equal bytes. Takes time in proportion to the
    /// state.
    ///
    /// # Panics
    /// Where the service panics.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let Position { last_cid, last_hash, time, schedule } = self.position();
        // Topics without an event exist only through their subscribers.
        let topics = || self.topics().iter().filter(|(_, state)| state.head > 0);
        let header = SavedHeader {
            format: FORMAT,
            time,
            horizon: self.sessions().horizon(),
            schedule,
            sessions: self.sessions().len() as u64,
            topics: topics().count() as u64,
        };
        let mut protocol = encode(&header);
        for (key, session) in self.sessions().iter() {
            protocol.extend(encode(&SavedSession::of(*key, session)));
        }
        for (topic, state) in topics() {
            protocol.extend(encode(&SavedTopic::of(topic, state)));
        }
        Snapshot::cut(last_cid, last_hash, self.service().snapshot(), protocol)
    }

    /// The state of which [`Executor::snapshot`] gave these bytes. Takes time in proportion to
    /// the state.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn restore(snapshot: &Snapshot, limits: ExecutionLimits) -> Result<Self, SnapshotError> {
        let (service, protocol) = snapshot.chunks.split_at(snapshot.manifest.service_chunks());
        let protocol = joined(protocol);
        let mut reader = Reader(&protocol);
        let header: SavedHeader = reader.next("header")?;
        if header.format != FORMAT {
            return Err(SnapshotError::Format(header.format));
        }
        let Manifest { cid: last_cid, hash: last_hash, .. } = snapshot.manifest;
        let SavedHeader { time, schedule, .. } = header;
        // The horizon may be ahead of agreed time: a session counts as active until its birth, and
        // its eviction raises the horizon to that (rule A9).
        if schedule.cid > last_cid || schedule.time > time {
            return Err(SnapshotError::Invalid("header"));
        }
        let mut sessions = Sessions::new(limits.sessions, limits.session_idle);
        let mut topics = Topics::new(limits.ring);
        let mut subscriptions = Vec::new();
        sessions.restore_horizon(header.horizon);
        for _ in 0..header.sessions {
            let saved: SavedSession = reader.next("session")?;
            let key = saved.key;
            let subscribed = restore_session(&mut sessions, saved, last_cid, &limits)
                .ok_or(SnapshotError::Invalid("session"))?;
            subscriptions.extend(subscribed.into_iter().map(|topic| (topic, key)));
        }
        for _ in 0..header.topics {
            restore_topic(&mut topics, reader.next("topic")?, last_cid)
                .ok_or(SnapshotError::Invalid("topic"))?;
        }
        if !reader.0.is_empty() {
            return Err(SnapshotError::Invalid("end"));
        }
        for (topic, key) in subscriptions {
            topics.subscribe(topic, key);
        }
        let service = joined(service);
        // Unwind safety: nothing of what the panic leaves behind is used.
        let service = catch_unwind(AssertUnwindSafe(|| S::restore(&service)))
            .map_err(|_| SnapshotError::Panicked)??;
        let position = Position { last_cid, last_hash, time, schedule };
        Ok(Self::from_parts(service, sessions, topics, position, limits))
    }
}

/// Puts a session back; gives its subscriptions.
fn restore_session(
    sessions: &mut Sessions,
    saved: SavedSession,
    last_cid: Cid,
    limits: &ExecutionLimits,
) -> Option<BTreeSet<Topic>> {
    let SavedSession { key, last_time, last_number, replies, subscriptions } = saved;
    let entries = Numbered::new(last_number, replies, last_cid, MAX_CLIENT_FRAME)?;
    let replies: VecDeque<CachedReply> = entries
        .map(|(number, view, cid, result)| {
            let digest = Digest::of(&result);
            CachedReply { number, view, cid, result, digest }
        })
        .collect();
    let subscribed: BTreeSet<Topic> = ascending(subscriptions)?;
    (subscribed.len() <= limits.subscriptions
        && sessions.restore(key, last_time, replies, subscribed.clone()))
    .then_some(subscribed)
}

fn restore_topic(topics: &mut Topics, saved: SavedTopic, last_cid: Cid) -> Option<()> {
    let SavedTopic { topic, head, events } = saved;
    let ring: VecDeque<Event> = Numbered::new(head, events, last_cid, MAX_RESULT)?
        .map(|(number, view, cid, payload)| {
            let digest = Digest::of(&payload);
            Event { topic: topic.clone(), number, view, cid, payload, digest }
        })
        .collect();
    topics.restore(topic, head, ring).then_some(())
}

/// Replies or events with the consecutive numbers that end with `last`.
struct Numbered {
    next: u64,
    entries: std::vec::IntoIter<(ViewNumber, Cid, Bytes)>,
}

impl Numbered {
    /// Checks that the numbers begin at 1 or later, that instances ascend up to `last_cid`, and
    /// that nothing is longer than `longest`.
    fn new(
        last: u64,
        entries: Vec<(ViewNumber, Cid, Bytes)>,
        last_cid: Cid,
        longest: usize,
    ) -> Option<Self> {
        let next = last.checked_sub(entries.len() as u64)?.checked_add(1)?;
        let ascend = entries.windows(2).all(|pair| pair[0].1 <= pair[1].1);
        let bounded = entries.last().is_none_or(|(_, cid, _)| *cid <= last_cid);
        let short = entries.iter().all(|(_, _, bytes)| bytes.len() <= longest);
        (ascend && bounded && short).then(|| Self { next, entries: entries.into_iter() })
    }
}

impl Iterator for Numbered {
    type Item = (u64, ViewNumber, Cid, Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        let (view, cid, bytes) = self.entries.next()?;
        let number = self.next;
        self.next += 1;
        Some((number, view, cid, bytes))
    }
}

fn ascending(topics: Vec<Topic>) -> Option<BTreeSet<Topic>> {
    topics.windows(2).all(|pair| pair[0] < pair[1]).then(|| topics.into_iter().collect())
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn next<T: DeserializeOwned>(&mut self, what: &'static str) -> Result<T, SnapshotError> {
        let (value, rest) =
            postcard::take_from_bytes(self.0).map_err(|_| SnapshotError::Invalid(what))?;
        self.0 = rest;
        Ok(value)
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
