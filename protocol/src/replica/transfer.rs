//! Fetching a stable checkpoint from the other members (rule C6).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use crate::auth::VerifiedCheckpoint;
use crate::execution::Snapshot;
use crate::membership::{Cid, Digest, ReplicaSet};
use crate::time::Instant;
use crate::wire::{Manifest, PeerMessage};

/// Chunks that are asked of one peer at a time.
const WINDOW: usize = 4;

/// A peer sent what is not the state it should be: it misbehaved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransferFault {
    /// Another manifest than the one that a quorum signed.
    #[error("sent a manifest that is not the stable checkpoint's")]
    Manifest,
    /// A chunk that the manifest does not name.
    #[error("sent chunk {0} of a stable checkpoint with wrong content")]
    Chunk(u32),
}

#[derive(Debug, Default)]
struct Source {
    /// Chunks asked for.
    asked: BTreeSet<u32>,
    asked_manifest: bool,
    /// When what was asked for is asked of somebody else.
    deadline: Option<Instant>,
    /// It says that it does not have this state.
    gone: bool,
    /// It sent something wrong: it is not asked again.
    faulty: bool,
    /// It let a deadline pass: it is asked one thing at a time, after the others.
    slow: bool,
}

impl Source {
    fn is_asked(&self) -> bool {
        self.asked_manifest || !self.asked.is_empty()
    }

    fn room(&self) -> usize {
        let window = if self.slow { 1 } else { WINDOW };
        window.saturating_sub(self.asked.len())
    }
}

/// The transfer of one stable checkpoint.
#[derive(Debug)]
pub(super) struct Transfer {
    target: VerifiedCheckpoint,
    manifest: Option<Manifest>,
    chunks: Vec<Option<Bytes>>,
    /// Chunks neither held nor asked for.
    missing: BTreeSet<u32>,
    sources: Vec<Source>,
    /// Chunks held from elsewhere.
    known: BTreeMap<Digest, Bytes>,
    /// Whom to ask next.
    next: usize,
    retry: Duration,
    /// When those who do not have the state are asked again.
    again: Option<Instant>,
}

impl Transfer {
    /// Fetches `target` from `n` members. What is still asked for after `retry` is asked of
    /// another one.
    pub(super) fn new(target: VerifiedCheckpoint, n: usize, retry: Duration) -> Self {
        Self {
            target,
            manifest: None,
            chunks: Vec::new(),
            missing: BTreeSet::new(),
            sources: (0..n).map(|_| Source::default()).collect(),
            known: BTreeMap::new(),
            next: 0,
            retry,
            again: None,
        }
    }

    /// Chunks of this snapshot need not be fetched.
    pub(super) fn reuse(&mut self, snapshot: &Snapshot) {
        let chunks = snapshot.manifest().chunks.iter().zip(snapshot.chunks());
        self.known.extend(chunks.map(|(digest, chunk)| (*digest, chunk.clone())));
    }

    /// Goes on with another checkpoint; what is held already is used where it is the same.
    pub(super) fn retarget(self, target: VerifiedCheckpoint) -> Self {
        let mut next = Self::new(target, self.sources.len(), self.retry);
        next.known = self.known;
        if let Some(manifest) = self.manifest {
            for (digest, chunk) in manifest.chunks.into_iter().zip(self.chunks) {
                next.known.extend(chunk.map(|chunk| (digest, chunk)));
            }
        }
        next
    }

    /// The state that is fetched.
    pub(super) const fn target(&self) -> &VerifiedCheckpoint {
        &self.target
    }

    /// Chunks held, and chunks in all, once that is known.
    pub(super) fn progress(&self) -> (usize, usize) {
        (self.chunks.iter().flatten().count(), self.chunks.len())
    }

    /// Members that say they do not have this state.
    pub(super) fn gone(&self) -> ReplicaSet {
        (0..self.sources.len()).filter(|&peer| self.sources[peer].gone).collect()
    }

    /// Is there a connected member left to ask?
    pub(super) fn has_source(&self, connected: ReplicaSet) -> bool {
        connected.iter().any(|peer| self.may_ask(peer))
    }

    fn may_ask(&self, peer: usize) -> bool {
        self.sources.get(peer).is_some_and(|source| !source.gone && !source.faulty)
    }

    /// What is to be asked of whom now.
    pub(super) fn requests(
        &mut self,
        now: Instant,
        connected: ReplicaSet,
    ) -> Vec<(usize, PeerMessage)> {
        let n = self.sources.len();
        let mut candidates: Vec<usize> = (0..n)
            .map(|step| (self.next + step) % n)
            .filter(|&peer| connected.contains(peer) && self.may_ask(peer))
            .collect();
        candidates.sort_by_key(|&peer| self.sources[peer].slow);
        let cid = self.target.id().cid;
        let mut requests = Vec::new();
        if self.manifest.is_none() {
            if let Some(&peer) = candidates.first()
                && !self.sources.iter().any(|source| source.asked_manifest)
            {
                self.next = (peer + 1) % n;
                self.sources[peer].asked_manifest = true;
                requests.push((peer, PeerMessage::FetchManifest { cid }));
            }
        } else {
            // One each in turn, so that the load is spread; not the same first each time.
            self.next = (self.next + 1) % n;
            while !self.missing.is_empty() {
                let before = requests.len();
                for &peer in &candidates {
                    let source = &mut self.sources[peer];
                    if source.room() == 0 {
                        continue;
                    }
                    let Some(index) = self.missing.pop_first() else { break };
                    source.asked.insert(index);
                    requests.push((peer, PeerMessage::FetchChunk { cid, index }));
                }
                if requests.len() == before {
                    break;
                }
            }
        }
        for &(peer, _) in &requests {
            self.sources[peer].deadline.get_or_insert(now + self.retry);
        }
        let waits = self.sources.iter().any(Source::is_asked);
        if waits || self.is_complete() {
            self.again = None;
        } else {
            self.again.get_or_insert(now + self.retry);
        }
        requests
    }

    /// When to call [`Transfer::handle_deadline`].
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.sources.iter().filter_map(|source| source.deadline).chain(self.again).min()
    }

    /// Time has passed: what was not answered is asked elsewhere.
    pub(super) fn handle_deadline(&mut self, now: Instant) {
        for peer in 0..self.sources.len() {
            if self.sources[peer].deadline.is_some_and(|at| at <= now) {
                self.take_back(peer);
                self.sources[peer].slow = true;
            }
        }
        if self.again.is_some_and(|at| at <= now) {
            self.again = None;
            for source in &mut self.sources {
                source.gone = false;
            }
        }
    }

    /// What was asked of a peer is to be asked of somebody else.
    fn take_back(&mut self, peer: usize) {
        let source = &mut self.sources[peer];
        source.asked_manifest = false;
        source.deadline = None;
        let asked = std::mem::take(&mut source.asked);
        let open = |index: &u32| self.chunks.get(place(*index)).is_some_and(Option::is_none);
        self.missing.extend(asked.into_iter().filter(open));
    }

    /// The stream to a peer is gone; after the next one it may be asked for anything again.
    pub(super) fn handle_disconnected(&mut self, peer: usize) {
        self.take_back(peer);
        self.sources[peer].gone = false;
        self.sources[peer].slow = false;
    }

    /// A peer does not have the state after instance `cid`.
    pub(super) fn handle_gone(&mut self, peer: usize, cid: Cid) {
        if cid == self.target.id().cid {
            self.take_back(peer);
            self.sources[peer].gone = true;
        }
    }

    /// A manifest arrived.
    ///
    /// # Errors
    /// Where it is not what the quorum signed.
    pub(super) fn handle_manifest(
        &mut self,
        peer: usize,
        manifest: Manifest,
    ) -> Result<(), TransferFault> {
        if manifest.cid != self.target.id().cid || self.manifest.is_some() {
            return Ok(());
        }
        if manifest.id() != self.target.id() {
            self.take_back(peer);
            self.sources[peer].faulty = true;
            return Err(TransferFault::Manifest);
        }
        for source in &mut self.sources {
            source.asked_manifest = false;
            source.deadline = None;
        }
        self.chunks =
            manifest.chunks.iter().map(|digest| self.known.get(digest).cloned()).collect();
        self.missing = (0..)
            .zip(&self.chunks)
            .filter(|(_, chunk)| chunk.is_none())
            .map(|(index, _)| index)
            .collect();
        self.manifest = Some(manifest);
        Ok(())
    }

    /// A chunk arrived, asked for or not.
    ///
    /// # Errors
    /// Where it is not what the manifest names.
    pub(super) fn handle_chunk(
        &mut self,
        now: Instant,
        peer: usize,
        cid: Cid,
        index: u32,
        bytes: Bytes,
    ) -> Result<(), TransferFault> {
        let Some(manifest) = self.manifest.as_ref().filter(|_| cid == self.target.id().cid) else {
            return Ok(());
        };
        if manifest.chunks.get(place(index)) != Some(&Digest::of(&bytes)) {
            self.take_back(peer);
            self.sources[peer].faulty = true;
            return Err(TransferFault::Chunk(index));
        }
        let source = &mut self.sources[peer];
        // What was not asked for says nothing of how fast this peer answers.
        if source.asked.remove(&index) {
            source.slow = false;
            source.deadline = (!source.asked.is_empty()).then(|| now + self.retry);
        }
        self.missing.remove(&index);
        self.chunks[place(index)].get_or_insert(bytes);
        Ok(())
    }

    /// Is all of it there?
    pub(super) fn is_complete(&self) -> bool {
        self.manifest.is_some() && self.chunks.iter().all(Option::is_some)
    }

    /// The whole, where it is complete: not restored yet.
    pub(super) fn finish(self) -> Option<(VerifiedCheckpoint, Manifest, Vec<Bytes>)> {
        let chunks = self.chunks.into_iter().collect::<Option<Vec<Bytes>>>()?;
        Some((self.target, self.manifest?, chunks))
    }
}

const fn place(index: u32) -> usize {
    index as usize
}

#[cfg(test)]
#[path = "transfer_tests.rs"]
mod tests;
