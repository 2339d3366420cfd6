//! What hostile peers say: messages of every kind made of known and of invented parts, and honest
//! messages repeated or damaged.

use bytes::Bytes;
use webbft_protocol::auth::{sign_accept, sign_propose};
use webbft_protocol::membership::{
    Cid, ClientId, Digest, Epoch, ReplicaId, SessionId, View, ViewNumber,
};
use webbft_protocol::time::UnixMicros;
use webbft_protocol::wire::{
    Batch, BatchEntry, Certificate, Decision, PeerEnvelope, PeerMessage, Request, RequestId, Vouch,
    VouchGroup,
};

use crate::choices::Choices;
use crate::group::{START, signing_key};

/// Things that were said, of each kind the latest this many.
const KEPT: usize = 64;

/// What a liar knows.
#[derive(Default)]
pub(crate) struct Known {
    bodies: Vec<Bytes>,
    entries: Vec<BatchEntry>,
    hashes: Vec<Digest>,
    batches: Vec<Batch>,
    heard: Vec<PeerMessage>,
    /// The last instance that any replica has decided.
    pub(crate) last: Cid,
}

fn keep<T>(list: &mut Vec<T>, value: T) {
    if list.len() >= KEPT {
        list.remove(0);
    }
    list.push(value);
}

impl Known {
    pub(crate) fn request(&mut self, bytes: Bytes) {
        if let Ok(request) = Request::decode(&bytes) {
            keep(&mut self.entries, BatchEntry { id: request.id, digest: Request::digest(&bytes) });
        }
        keep(&mut self.bodies, bytes);
    }

    /// A request that was sent before.
    pub(crate) fn body(&self, choices: &mut Choices<'_>) -> Option<Bytes> {
        choices.of(&self.bodies)
    }

    pub(crate) fn hear(&mut self, view: &View, message: &PeerMessage) {
        match message {
            PeerMessage::Propose { cid, batch, .. } => {
                keep(&mut self.hashes, batch.hash(view.service, view.number, *cid));
                keep(&mut self.batches, batch.clone());
            }
            PeerMessage::Write { hash, .. } => keep(&mut self.hashes, *hash),
            _ => {}
        }
        keep(&mut self.heard, message.clone());
    }

    fn entry(&self, choices: &mut Choices<'_>) -> BatchEntry {
        if !choices.byte().is_multiple_of(4)
            && let Some(entry) = choices.of(&self.entries)
        {
            return entry;
        }
        let near = self.entries.last().map_or(1, |entry| entry.id.number);
        let id = RequestId {
            client: ClientId([choices.byte(); 16]),
            session: SessionId([choices.byte() % 4; 16]),
            number: choices.number(near),
        };
        BatchEntry { id, digest: Digest([choices.byte(); 32]) }
    }

    fn entries(&self, choices: &mut Choices<'_>) -> Vec<BatchEntry> {
        (0..choices.byte() % 5).map(|_| self.entry(choices)).collect()
    }

    fn hash(&self, choices: &mut Choices<'_>) -> Digest {
        if !choices.byte().is_multiple_of(4)
            && let Some(hash) = choices.of(&self.hashes)
        {
            return hash;
        }
        Digest([choices.byte(); 32])
    }

    fn batch(&self, choices: &mut Choices<'_>) -> Batch {
        if choices.byte().is_multiple_of(4)
            && let Some(batch) = choices.of(&self.batches)
        {
            return batch;
        }
        Batch { time: time(choices), entries: self.entries(choices) }
    }

    /// Any message of `peer`, who signs what it likes with its own key.
    pub(crate) fn message(
        &mut self,
        choices: &mut Choices<'_>,
        view: &View,
        peer: usize,
    ) -> PeerMessage {
        let cid = Cid(choices.number(self.last.0));
        let epoch = Epoch(choices.short(1));
        match choices.byte() % 16 {
            0 => PeerMessage::Status { last_cid: cid, learner: choices.flag() },
            1 | 2 => {
                let born = time(choices);
                let vouches = self
                    .entries(choices)
                    .into_iter()
                    .map(|entry| (Vouch { id: entry.id, digest: entry.digest }, born));
                let groups = VouchGroup::gather(vouches.collect::<Vec<_>>());
                PeerMessage::Vouches { replace: choices.byte().is_multiple_of(4), groups }
            }
            3 => PeerMessage::ResendVouches,
            4 => {
                let wanted = self.entries(choices).into_iter();
                let wanted = wanted.map(|entry| Vouch { id: entry.id, digest: entry.digest });
                PeerMessage::FetchBodies(wanted.collect())
            }
            5 => {
                let body = self.body(choices).filter(|_| !choices.byte().is_multiple_of(4));
                PeerMessage::Body(body.unwrap_or_else(|| choices.bytes(80).into()))
            }
            6 | 7 => {
                let batch = self.batch(choices);
                let hash = batch.hash(view.service, view.number, cid);
                keep(&mut self.hashes, hash);
                let signature = sign_propose(&signing_key(peer), view, cid, epoch, hash);
                PeerMessage::Propose { cid, epoch, batch, signature }
            }
            8 | 9 => PeerMessage::Write { cid, epoch, hash: self.hash(choices) },
            10 | 11 => {
                let hash = self.hash(choices);
                let signature = signature(choices, view, peer, (cid, epoch, hash));
                PeerMessage::Accept { cid, epoch, hash, signature }
            }
            12 => PeerMessage::FetchDecisions { from: cid },
            13 => self.decision(choices, view, peer, cid, epoch),
            14 => self.damaged(choices, view),
            _ => choices.of(&self.heard).unwrap_or(PeerMessage::ResendVouches),
        }
    }

    fn decision(
        &self,
        choices: &mut Choices<'_>,
        view: &View,
        peer: usize,
        cid: Cid,
        epoch: Epoch,
    ) -> PeerMessage {
        let batch = self.batch(choices);
        let hash = batch.hash(view.service, view.number, cid);
        let signatures = (0..choices.byte() % 5)
            .map(|_| {
                let id = ReplicaId(u16::from(choices.byte()) % 8);
                (id, signature(choices, view, peer, (cid, epoch, hash)))
            })
            .collect();
        let bodies = batch.entries.iter().map(|_| self.body(choices).unwrap_or_default()).collect();
        let certificate = Certificate { epoch, signatures };
        PeerMessage::Decided(Decision { cid, batch, certificate, bodies })
    }

    /// An honest message with some of its bytes changed, where that is still a message.
    fn damaged(&self, choices: &mut Choices<'_>, view: &View) -> PeerMessage {
        let message = choices.of(&self.heard).unwrap_or(PeerMessage::ResendVouches);
        let envelope = PeerEnvelope { service: view.service, view: ViewNumber(0), message };
        let mut bytes = envelope.encode().to_vec();
        choices.damage(&mut bytes);
        PeerEnvelope::decode(&bytes).unwrap_or(envelope).message
    }
}

fn signature(
    choices: &mut Choices<'_>,
    view: &View,
    peer: usize,
    (cid, epoch, hash): (Cid, Epoch, Digest),
) -> Bytes {
    match choices.byte() % 4 {
        0 => choices.bytes(70).into(),
        _ => sign_accept(&signing_key(peer), view, cid, epoch, hash),
    }
}

/// A time near the present one, or any.
pub(crate) fn time(choices: &mut Choices<'_>) -> UnixMicros {
    match choices.byte() % 4 {
        0 => UnixMicros(choices.number(START)),
        _ => UnixMicros(START + u64::from(choices.byte()) * 1_000_000),
    }
}
