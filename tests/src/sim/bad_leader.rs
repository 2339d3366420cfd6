//! What Byzantine replicas do to consensus, leader changes and state transfer: as leaders, and as
//! those who tell the new leader, or who was away, what they know.

use bytes::Bytes;
use webbft_protocol::auth::{sign_accept, sign_checkpoint, sign_propose, sign_stop_data};
use webbft_protocol::membership::{Cid, Digest, Epoch, Regency};
use webbft_protocol::time::UnixMicros;
use webbft_protocol::wire::{
    Batch, Certificate, Evidence, LastProof, PeerMessage, SignedStopData, StopData, Sync,
};

use super::byzantine::Byzantine;
use super::draw::Draw;
use super::plan::Misdeed;

/// STOPDATAs of its own, and SYNCs, that are kept to be sent again.
const KEPT: usize = 20;

impl Byzantine {
    /// What one replica is sent instead of a message about an instance or a leader change.
    pub(super) fn bend(
        &mut self,
        to: usize,
        message: PeerMessage,
        draw: &mut Draw,
    ) -> Vec<PeerMessage> {
        let favoured = self.favoured.contains(to);
        match message {
            PeerMessage::Propose { .. } | PeerMessage::Sync(_)
                if self.does(Misdeed::StallAsLeader) =>
            {
                Vec::new()
            }
            PeerMessage::Propose { .. }
            | PeerMessage::Write { .. }
            | PeerMessage::Accept { .. }
                if self.does(Misdeed::ProposeToFew) && !favoured =>
            {
                Vec::new()
            }
            PeerMessage::Propose { cid, epoch, batch, .. }
                if self.does(Misdeed::EquivocateProposals) && !favoured =>
            {
                vec![self.other_proposal(cid, epoch, &batch)]
            }
            PeerMessage::Write { cid, epoch, hash }
                if self.does(Misdeed::EquivocateProposals) && !favoured =>
            {
                let hash = self.other_hash(hash);
                vec![PeerMessage::Write { cid, epoch, hash }]
            }
            PeerMessage::Accept { cid, epoch, hash, .. }
                if self.does(Misdeed::EquivocateProposals) && !favoured =>
            {
                let hash = self.other_hash(hash);
                let signature = sign_accept(&self.key, &self.view, cid, epoch, hash);
                vec![PeerMessage::Accept { cid, epoch, hash, signature }]
            }
            PeerMessage::StopData(signed) if self.does(Misdeed::LieInStopData) => {
                self.false_stop_data(signed, draw)
            }
            PeerMessage::Sync(sync) if self.does(Misdeed::LieInSync) => self.false_sync(sync, draw),
            PeerMessage::Report { last_cid, proof, .. } if self.does(Misdeed::LieInReports) => {
                vec![self.false_report(last_cid, proof, draw)]
            }
            PeerMessage::Status { learner, .. } if self.does(Misdeed::LieInReports) => {
                vec![PeerMessage::Status { last_cid: Cid(draw.number()), learner }]
            }
            message if self.does(Misdeed::LieInTransfer) => self.false_state(message, draw),
            message => vec![message],
        }
    }

    /// Another batch for the same instance: of the same requests, at another time.
    fn other_proposal(&mut self, cid: Cid, epoch: Epoch, batch: &Batch) -> PeerMessage {
        let other = Batch { time: UnixMicros(batch.time.0 + 1), entries: batch.entries.clone() };
        let hash = batch.hash(self.view.service, self.view.number, cid);
        let other_hash = other.hash(self.view.service, self.view.number, cid);
        self.others_of.insert(hash, other_hash);
        let signature = sign_propose(&self.key, &self.view, cid, epoch, other_hash);
        PeerMessage::Propose { cid, epoch, batch: other, signature }
    }

    fn other_hash(&self, hash: Digest) -> Digest {
        self.others_of.get(&hash).copied().unwrap_or(hash)
    }

    fn false_stop_data(&mut self, signed: SignedStopData, draw: &mut Draw) -> Vec<PeerMessage> {
        let Ok(mut data) = signed.decode() else { return Vec::new() };
        if self.stop_datas.len() == KEPT {
            let oldest = draw.below(KEPT);
            self.stop_datas.swap_remove(oldest);
        }
        self.stop_datas.push(signed.clone());
        let epoch = data.regency.epoch();
        let random = Digest(draw.bytes32());
        let earlier = Epoch(draw.between32(1..=epoch.0));
        match draw.below(10) {
            0 => return Vec::new(),
            1 => {
                data.accepted = None;
                data.writeset = Vec::new();
            }
            2 => data.accepted = Some((earlier, random)),
            3 => {
                data.accepted = Some((earlier, random));
                data.writeset = vec![(earlier, random)];
            }
            4 => data.writeset.push((earlier, self.other_hash(random))),
            5 => {
                (data.last_cid, data.last_hash) = (Cid::ZERO, Digest::default());
                data.proof = LastProof::Genesis;
            }
            6 => {
                // A claim to be further, with a certificate of its own signature in all names.
                data.last_cid = data.last_cid.next();
                data.last_hash = random;
                let certificate = self.forged_certificate((data.last_cid, data.last_hash), earlier);
                data.proof = LastProof::Certificate(certificate);
            }
            7 => {
                // An old one, under a new regency's name or as it was.
                let old = draw.pick(&self.stop_datas).clone();
                if draw.chance(1, 2) {
                    return vec![PeerMessage::StopData(old)];
                }
                if let Ok(old) = old.decode() {
                    let regency = data.regency;
                    data = StopData { regency, ..old };
                }
            }
            8 => data.replica = self.view.members[draw.below(self.view.n())].id,
            _ => {
                let mut signature = signed.signature.to_vec();
                signature[0] ^= 1;
                let signed = SignedStopData { signature: signature.into(), ..signed };
                return vec![PeerMessage::StopData(signed)];
            }
        }
        vec![PeerMessage::StopData(sign_stop_data(&self.key, &data))]
    }

    /// An instance far away, with the proof of another one or one of its own making.
    fn false_report(&self, last_cid: Cid, proof: LastProof, draw: &mut Draw) -> PeerMessage {
        let far = Cid(draw.number() >> draw.below(64));
        let last_cid = *draw.pick(&[far, Cid(u64::MAX), Cid(last_cid.0 + 1000), last_cid.next()]);
        let last_hash = Digest(draw.bytes32());
        let proof = match draw.below(3) {
            0 => proof,
            1 => LastProof::Genesis,
            _ => {
                let epoch = self.regency.epoch();
                LastProof::Certificate(self.forged_certificate((last_cid, last_hash), epoch))
            }
        };
        PeerMessage::Report { last_cid, last_hash, proof }
    }

    fn forged_certificate(&self, (cid, hash): (Cid, Digest), epoch: Epoch) -> Certificate {
        let signature = sign_accept(&self.key, &self.view, cid, epoch, hash);
        let members = self.view.members.iter();
        Certificate {
            epoch,
            signatures: members.map(|member| (member.id, signature.clone())).collect(),
        }
    }

    fn false_sync(&mut self, sync: Sync, draw: &mut Draw) -> Vec<PeerMessage> {
        let mut other = sync.clone();
        match draw.below(7) {
            0 => return Vec::new(),
            1 => other.batch.time.0 += 1,
            2 => other.batch.entries.clear(),
            3 => drop(other.stop_datas.pop()),
            4 => {
                let again = draw.pick(&sync.stop_datas).clone();
                other.stop_datas.push(again);
            }
            5 => {
                // A false word of its own in the place of the true one.
                for signed in &mut other.stop_datas {
                    let own = signed
                        .decode()
                        .ok()
                        .filter(|data| data.replica == self.view.members[self.me].id);
                    if let Some(own) = own {
                        let random = (Epoch(1), Digest(draw.bytes32()));
                        let data =
                            StopData { accepted: Some(random), writeset: vec![random], ..own };
                        *signed = sign_stop_data(&self.key, &data);
                    }
                }
            }
            _ => {
                let regency = Regency(sync.regency.0 + draw.between32(1..=3));
                other.regency = regency;
            }
        }
        vec![PeerMessage::Sync(other)]
    }

    fn false_state(&self, message: PeerMessage, draw: &mut Draw) -> Vec<PeerMessage> {
        let mut random = || Digest(draw.bytes32());
        vec![match message {
            PeerMessage::Checkpoint { mut checkpoint, .. } => {
                checkpoint.digest = random();
                let signature = sign_checkpoint(&self.key, &self.view, &checkpoint);
                PeerMessage::Checkpoint { checkpoint, signature }
            }
            PeerMessage::StableCheckpoint { mut certificate, first } => {
                certificate.checkpoint.digest = random();
                PeerMessage::StableCheckpoint { certificate, first }
            }
            PeerMessage::Manifest(mut manifest) => {
                for chunk in &mut manifest.chunks {
                    *chunk = random();
                }
                PeerMessage::Manifest(manifest)
            }
            PeerMessage::Chunk { cid, index, bytes } => {
                let mut bytes = bytes.to_vec();
                if let Some(first) = bytes.first_mut() {
                    *first ^= 1;
                }
                PeerMessage::Chunk { cid, index, bytes: bytes.into() }
            }
            message => message,
        }]
    }

    /// Takes note of the regency that is spoken of.
    pub(super) fn hear_of_regency(&mut self, message: &PeerMessage) {
        let regency = match message {
            PeerMessage::Stop { regency, .. } => *regency,
            PeerMessage::Sync(sync) => sync.regency,
            PeerMessage::Propose { epoch, .. } => Regency(epoch.0.saturating_sub(1)),
            _ => return,
        };
        // A liar among the others must not lead this one beyond all bounds.
        if regency.0 < self.regency.0 + 10 {
            self.regency = self.regency.max(regency);
        }
    }

    /// A STOP that nothing has given cause for.
    pub(super) fn early_stop(&self, draw: &mut Draw) -> PeerMessage {
        let next = self.regency.0;
        let regency = Regency(*draw.pick(&[next, next + 1, next + 1, next + 2, next + 50]));
        let cid = *draw.pick(&[Cid::ZERO, self.last_cid, self.last_cid.next(), Cid(u64::MAX)]);
        let evidence = draw.chance(1, 4).then(|| {
            let proposals = [0, 1].map(|_| {
                let hash = Digest(draw.bytes32());
                (hash, sign_propose(&self.key, &self.view, cid, self.regency.epoch(), hash))
            });
            Evidence::TwoProposals { cid, epoch: self.regency.epoch(), proposals }
        });
        PeerMessage::Stop { regency, evidence }
    }

    /// A signature over something else.
    pub(super) fn bad_signature(draw: &mut Draw) -> Bytes {
        Bytes::from(draw.bytes(64))
    }
}
