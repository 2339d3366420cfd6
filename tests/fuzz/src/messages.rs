//! What hostile peers say: messages of every kind made of known and of invented parts, and honest
//! messages repeated or damaged.

use bytes::Bytes;
use webbft_protocol::auth::{sign_accept, sign_checkpoint, sign_propose, sign_stop_data};
use webbft_protocol::membership::{
    Cid, ClientId, Digest, Epoch, Regency, ReplicaId, SessionId, View, ViewNumber,
};
use webbft_protocol::time::UnixMicros;
use webbft_protocol::wire::{
    Batch, BatchEntry, Certificate, CheckpointCertificate, CheckpointId, Decision, Evidence,
    LastProof, Manifest, PeerEnvelope, PeerMessage, Request, RequestId, SignedStopData, StopData,
    Sync, Vouch, VouchGroup,
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
    stop_datas: Vec<SignedStopData>,
    certificates: Vec<(Cid, Digest, Certificate)>,
    checkpoints: Vec<CheckpointId>,
    stable: Vec<CheckpointCertificate>,
    manifests: Vec<Manifest>,
    chunks: Vec<Bytes>,
    /// The latest regency that any replica has installed.
    pub(crate) regency: Regency,
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
            PeerMessage::StopData(data) => keep(&mut self.stop_datas, data.clone()),
            PeerMessage::Sync(sync) => {
                for data in &sync.stop_datas {
                    keep(&mut self.stop_datas, data.clone());
                }
            }
            PeerMessage::Checkpoint { checkpoint, .. } => keep(&mut self.checkpoints, *checkpoint),
            PeerMessage::StableCheckpoint { certificate, .. } => {
                keep(&mut self.stable, certificate.clone());
            }
            PeerMessage::Manifest(manifest) => keep(&mut self.manifests, manifest.clone()),
            PeerMessage::Chunk { bytes, .. } => keep(&mut self.chunks, bytes.clone()),
            PeerMessage::Decided(decision) => {
                let hash = decision.batch.hash(view.service, view.number, decision.cid);
                let certificate = decision.certificate.clone();
                keep(&mut self.certificates, (decision.cid, hash, certificate));
            }
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
        let regency = Regency(choices.short(self.regency.0));
        let epoch = Epoch(choices.short(regency.epoch().0));
        match choices.byte() % 32 {
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
            15 | 16 => {
                let regency = Regency(choices.short(regency.next().0));
                let evidence =
                    choices.one_in(4).then(|| self.evidence(choices, view, peer, cid, epoch));
                PeerMessage::Stop { regency, evidence }
            }
            17 | 18 => PeerMessage::StopData(self.stop_data(choices, view, peer, regency)),
            19 | 20 => {
                let mut stop_datas: Vec<SignedStopData> =
                    (0..choices.byte() % 5).filter_map(|_| choices.of(&self.stop_datas)).collect();
                if choices.flag() {
                    stop_datas.push(self.stop_data(choices, view, peer, regency));
                }
                PeerMessage::Sync(Sync { regency, stop_datas, batch: self.batch(choices) })
            }
            21 => PeerMessage::FetchValue { cid, hash: self.hash(choices) },
            22 => {
                let batch = self.batch(choices);
                let bodies = self.bodies(choices, &batch);
                PeerMessage::Value { cid, batch, bodies }
            }
            23..=28 => self.about_checkpoints(choices, view, peer, cid),
            29 => {
                let (last_cid, last_hash, proof) = self.last_decision(choices);
                PeerMessage::Report { last_cid, last_hash, proof }
            }
            _ => choices.of(&self.heard).unwrap_or(PeerMessage::ResendVouches),
        }
    }

    /// A message about checkpoints and their transfer.
    fn about_checkpoints(
        &mut self,
        choices: &mut Choices<'_>,
        view: &View,
        peer: usize,
        cid: Cid,
    ) -> PeerMessage {
        let mut checkpoint = choices
            .of(&self.checkpoints)
            .filter(|_| !choices.one_in(4))
            .unwrap_or(CheckpointId { cid, hash: self.hash(choices), digest: Digest([4; 32]) });
        let sign = |checkpoint: &CheckpointId, choices: &mut Choices<'_>| {
            if !choices.one_in(4) {
                sign_checkpoint(&signing_key(peer), view, checkpoint)
            } else {
                choices.bytes(70).into()
            }
        };
        match choices.byte() % 8 {
            0 | 1 => {
                if choices.one_in(4) {
                    checkpoint.digest = self.hash(choices);
                }
                PeerMessage::Checkpoint { signature: sign(&checkpoint, choices), checkpoint }
            }
            2 => {
                let forged = || CheckpointCertificate { checkpoint, signatures: Vec::new() };
                let mut certificate = choices.of(&self.stable).unwrap_or_else(forged);
                if choices.one_in(4) {
                    certificate.checkpoint = checkpoint;
                    let id = ReplicaId(u16::from(choices.byte()) % 8);
                    let signature = sign(&checkpoint, choices);
                    certificate.signatures.push((id, signature));
                }
                PeerMessage::StableCheckpoint { certificate, first: Cid(choices.number(cid.0)) }
            }
            3 => PeerMessage::FetchManifest { cid: checkpoint.cid },
            4 => {
                let forged = || Manifest {
                    cid: checkpoint.cid,
                    hash: checkpoint.hash,
                    service_bytes: 1,
                    protocol_bytes: 1,
                    chunks: vec![checkpoint.digest; 2],
                };
                PeerMessage::Manifest(choices.of(&self.manifests).unwrap_or_else(forged))
            }
            5 => PeerMessage::FetchChunk { cid: checkpoint.cid, index: choices.short(0) },
            6 => {
                let chunk = choices.of(&self.chunks).filter(|_| !choices.one_in(4));
                let bytes = chunk.unwrap_or_else(|| choices.bytes(40).into());
                PeerMessage::Chunk { cid: checkpoint.cid, index: choices.short(0), bytes }
            }
            _ => PeerMessage::CheckpointGone { cid: checkpoint.cid },
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
        let bodies = self.bodies(choices, &batch);
        let certificate = Certificate { epoch, signatures };
        PeerMessage::Decided(Decision { cid, batch, certificate, bodies })
    }

    /// The bodies that a batch names, as far as they are known.
    fn bodies(&self, choices: &mut Choices<'_>, batch: &Batch) -> Vec<Bytes> {
        let right = !choices.one_in(4);
        let named = |entry: &BatchEntry| {
            self.bodies.iter().find(|body| right && Request::digest(body) == entry.digest).cloned()
        };
        batch
            .entries
            .iter()
            .map(|entry| named(entry).or_else(|| self.body(choices)).unwrap_or_default())
            .collect()
    }

    fn votes(&self, choices: &mut Choices<'_>) -> (Epoch, Digest) {
        (Epoch(choices.short(self.regency.epoch().0)), self.hash(choices))
    }

    /// A STOPDATA that `peer` signs.
    fn stop_data(
        &mut self,
        choices: &mut Choices<'_>,
        view: &View,
        peer: usize,
        regency: Regency,
    ) -> SignedStopData {
        let (last_cid, last_hash, proof) = self.last_decision(choices);
        let data = StopData {
            service: view.service,
            view: view.number,
            regency,
            replica: ReplicaId(u16::try_from(peer).unwrap_or_default()),
            last_cid,
            last_hash,
            proof,
            accepted: choices.flag().then(|| self.votes(choices)),
            writeset: (0..choices.byte() % 4).map(|_| self.votes(choices)).collect(),
        };
        let signed = sign_stop_data(&signing_key(peer), &data);
        keep(&mut self.stop_datas, signed.clone());
        signed
    }

    /// What somebody claims to have decided last, with a proof of it, of something else or none.
    fn last_decision(&self, choices: &mut Choices<'_>) -> (Cid, Digest, LastProof) {
        match choices.of(&self.certificates) {
            Some((cid, hash, certificate)) if !choices.one_in(4) => {
                (cid, hash, LastProof::Certificate(certificate))
            }
            _ if !choices.one_in(4) => (Cid(0), Digest::default(), LastProof::Genesis),
            _ => (Cid(choices.number(self.last.0)), self.hash(choices), LastProof::Genesis),
        }
    }

    fn evidence(
        &self,
        choices: &mut Choices<'_>,
        view: &View,
        peer: usize,
        cid: Cid,
        epoch: Epoch,
    ) -> Evidence {
        let mut proposal = || {
            let hash = self.hash(choices);
            (hash, sign_propose(&signing_key(peer), view, cid, epoch, hash))
        };
        let proposals = [proposal(), proposal()];
        Evidence::TwoProposals { cid, epoch, proposals }
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
