//! One consensus instance after another: PROPOSE, WRITE, ACCEPT, decide (rules N1 to N6), and the
//! change of a leader who does not make progress (rules S1 to S9).
//!
//! An instance is *decided* once q ACCEPTs are authenticated, and executed and answered at once.
//! It is *proven* once a certificate is sure to be among the ACCEPTs: there are those of q + f
//! members, or q signatures were found good. This replica votes on the next instance only then.
//! So it can always prove all that it has decided but for one instance, which still counts as
//! open in a leader change (rule N3).

mod catch_up;
mod checkpoint;
mod leader_change;
mod proving;
mod replay;
mod voting;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::admission::Admission;
use super::batch::BatchError;
use super::decisions::Decisions;
use super::held::Held;
use super::instance::{Cast, Instance, Proposal};
use super::stops::Stops;
use super::sync_choice::{Choice, SyncChoice, SyncFault};
use crate::auth::{
    CertificateError, SigningKey, StopDataError, VerifiedCertificate, VerifiedStopData,
    sign_propose,
};
use crate::execution::OrderedRequest;
use crate::membership::{Cid, Digest, Epoch, Quorums, Regency, ReplicaSet, View};
use crate::replica::Record;
use crate::time::UnixMicros;
use crate::wire::{Batch, BatchEntry, Evidence, LastProof, PeerMessage, SignedStopData, Sync};

/// Instances beyond the open one for which votes are kept. A correct peer is ahead by more only
/// if this replica lags, and then it fetches decisions.
const AHEAD: u64 = 16;
/// Epochs before and after the current one whose votes are kept.
const EPOCHS: u32 = 4;

/// Who this replica is in which view.
#[derive(Debug, Clone)]
pub struct ConsensusConfig {
    /// The view.
    pub view: Arc<View>,
    /// This replica's position in it.
    pub me: usize,
    /// Signs ACCEPTs, proposals and STOPDATAs.
    pub signing_key: SigningKey,
    /// How far a batch's time may be ahead of this replica's clock (rule N6).
    pub max_drift: Duration,
    /// Is there a log to keep records in (rule N4)?
    pub logged: bool,
}

/// A peer did what no correct replica does in a consensus instance or a leader change: it
/// misbehaved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProposalFault {
    /// A proposal from a replica that does not lead.
    #[error("proposed without being the leader")]
    NotLeader,
    /// Two proposals for one instance and epoch.
    #[error("proposed two batches for one instance")]
    TwoProposals,
    /// An invalid batch (rules A6 and N6).
    #[error("proposed an invalid batch: {0}")]
    InvalidBatch(BatchError),
    /// Two votes of one kind for one instance and epoch.
    #[error("voted twice, for different hashes")]
    TwoVotes,
    /// A decision whose parts do not fit together.
    #[error("sent a decision that does not fit its own hash")]
    BrokenDecision,
    /// A certificate that certifies nothing.
    #[error("sent a bad certificate: {0}")]
    Certificate(CertificateError),
    /// An ACCEPT whose signature is bad (rule N3).
    #[error("sent an ACCEPT with a bad signature")]
    AcceptSignature,
    /// A STOPDATA that cannot be used.
    #[error("sent an unusable STOPDATA: {0}")]
    StopData(StopDataError),
    /// A SYNC that does not follow from its STOPDATAs.
    #[error(transparent)]
    Sync(SyncFault),
}

/// The kinds of vote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vote {
    /// First vote.
    Write,
    /// Second vote, with its signature.
    Accept(Bytes),
}

/// A decided instance, ready to be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The instance.
    pub cid: Cid,
    /// Hash of the batch.
    pub hash: Digest,
    /// The batch.
    pub batch: Batch,
    /// Its requests, in order.
    pub requests: Vec<OrderedRequest>,
}

/// What consensus wants done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsensusOutput {
    /// Keep this: later votes and STOPDATAs depend on it (rule N4).
    Record(Record),
    /// Send a message. One that gives this replica's word waits for the records before it.
    Send {
        /// To these members.
        to: ReplicaSet,
        /// The message.
        message: PeerMessage,
    },
    /// A regency has begun; its leader still has to choose (rule S1).
    Installed(Regency),
    /// Its leader's choice is known.
    Synchronised(Regency),
}

/// Why this replica wants another leader than the present one. Its STOP stands while one of
/// these does, or while f + 1 others want the same (rule S2).
#[derive(Debug, Clone, Copy, Default)]
struct Reasons {
    /// A request has waited too long (rule S8).
    overdue: bool,
    /// The leader has lost its memory (rule D3).
    leader_learns: bool,
    /// The leader is proven wrong (rule S9).
    convicted: bool,
}

impl Reasons {
    const fn any(self) -> bool {
        self.overdue || self.leader_learns || self.convicted
    }
}

/// The consensus state machine.
#[derive(Debug)]
pub struct Consensus {
    config: ConsensusConfig,
    quorums: Quorums,
    voting: bool,
    regency: Regency,
    /// The last decided instance.
    last: Cid,
    last_hash: Digest,
    last_time: UnixMicros,
    /// The last instance whose decision this replica can prove: `last`, or the one before.
    proven: Cid,
    proven_hash: Digest,
    /// The proof of the instance before the first that was decided here.
    origin: LastProof,
    /// ACCEPTs that a proof needs and that no record holds yet. They are recorded before anything
    /// that rests on that proof (rule N4).
    late_accepts: Option<Record>,
    instances: BTreeMap<Cid, Instance>,
    decisions: Decisions,
    /// The last instance that each member is known to have decided, by its own word.
    peers_last: Vec<Cid>,
    /// The last instance that each member accepted.
    accepted_by: Vec<Cid>,
    /// The highest instance about which a message of each member was dropped, because this
    /// replica was too far behind: it has to be said again.
    dropped: Vec<Cid>,
    stops: Stops,
    reasons: Reasons,
    /// Proof of the last leader that was convicted, for those who have not seen it (rule S9).
    evidence: Option<Evidence>,
    /// Has this regency's SYNC been processed (rule S1)? Regency 0 needs none.
    synced: bool,
    /// What this replica told the regency's leader, to be said again as the same bytes (rule S3).
    stop_data: Option<SignedStopData>,
    /// What members told this replica as a leader, of the latest regency each.
    stop_datas: BTreeMap<usize, VerifiedStopData>,
    /// Certificates that came with STOPDATAs, about instances that this replica has not proven. All
    /// are true, and there are no more of them than instances that others have decided.
    certificates: BTreeMap<Cid, VerifiedCertificate>,
    /// The leader's choice before it could propose it.
    choice: Option<SyncChoice>,
    /// This replica's own SYNC of the present regency.
    sync: Option<Sync>,
    /// A value that is bound or decided and that this replica does not hold.
    wanted: Option<(Cid, Digest)>,
    out: VecDeque<ConsensusOutput>,
    faults: VecDeque<(usize, ProposalFault)>,
}

impl Consensus {
    /// Before the first instance. A replica that is not `voting` is a learner (rule D3).
    #[must_use]
    pub fn new(config: ConsensusConfig, genesis_time: UnixMicros, voting: bool) -> Self {
        let quorums = config.view.quorums();
        Self {
            quorums,
            voting,
            regency: Regency(0),
            last: Cid::ZERO,
            last_hash: Digest::default(),
            last_time: genesis_time,
            proven: Cid::ZERO,
            proven_hash: Digest::default(),
            origin: LastProof::Genesis,
            late_accepts: None,
            instances: BTreeMap::new(),
            decisions: Decisions::default(),
            peers_last: vec![Cid::ZERO; quorums.n()],
            accepted_by: vec![Cid::ZERO; quorums.n()],
            dropped: vec![Cid::ZERO; quorums.n()],
            stops: Stops::new(quorums),
            reasons: Reasons::default(),
            evidence: None,
            synced: true,
            stop_data: None,
            stop_datas: BTreeMap::new(),
            certificates: BTreeMap::new(),
            choice: None,
            sync: None,
            wanted: None,
            out: VecDeque::new(),
            faults: VecDeque::new(),
            config,
        }
    }

    /// The last decided instance.
    #[must_use]
    pub const fn last(&self) -> Cid {
        self.last
    }

    /// The last instance whose decision this replica can prove.
    #[must_use]
    pub const fn proven(&self) -> Cid {
        self.proven
    }

    /// The current regency.
    #[must_use]
    pub const fn regency(&self) -> Regency {
        self.regency
    }

    /// The position of the current leader.
    #[must_use]
    pub fn leader(&self) -> usize {
        self.config.view.leader(self.regency)
    }

    /// Is this replica the leader, and does it vote?
    #[must_use]
    pub fn leads(&self) -> bool {
        self.voting && self.leader() == self.config.me
    }

    /// From now on this replica votes.
    pub const fn begin_voting(&mut self) {
        self.voting = true;
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<ConsensusOutput> {
        self.out.pop_front()
    }

    /// A member that was caught misbehaving, and how.
    pub fn poll_fault(&mut self) -> Option<(usize, ProposalFault)> {
        self.faults.pop_front()
    }

    const fn epoch(&self) -> Epoch {
        self.regency.epoch()
    }

    /// The instance that this replica votes on: the first that it cannot prove.
    const fn open(&self) -> Cid {
        self.proven.next()
    }

    fn others(&self) -> ReplicaSet {
        self.config.view.everyone().without(self.config.me)
    }

    fn send(&mut self, to: ReplicaSet, message: PeerMessage) {
        if !to.is_empty() {
            self.out.push_back(ConsensusOutput::Send { to, message });
        }
    }

    fn record(&mut self, record: Record) {
        if self.config.logged {
            self.record_late_accepts();
            self.out.push_back(ConsensusOutput::Record(record));
        }
    }

    fn hash(&self, cid: Cid, batch: &Batch) -> Digest {
        batch.hash(self.config.view.service, self.config.view.number, cid)
    }

    /// The instance that a message of `peer` is about, where it is kept.
    fn instance_mut(&mut self, peer: usize, cid: Cid) -> Option<&mut Instance> {
        if cid.0 > self.last.0.saturating_add(AHEAD) {
            self.dropped[peer] = self.dropped[peer].max(cid);
            return None;
        }
        (cid > self.proven).then(|| self.instances.entry(cid).or_default())
    }

    /// A peer says that it has decided everything up to `last`.
    pub fn handle_progress(&mut self, peer: usize, last: Cid) {
        self.peers_last[peer] = self.peers_last[peer].max(last);
    }

    /// A proposal arrived.
    pub fn handle_propose(
        &mut self,
        peer: usize,
        cid: Cid,
        epoch: Epoch,
        batch: Batch,
        signature: Bytes,
    ) {
        if epoch != self.epoch() {
            return;
        }
        if peer != self.leader() {
            self.faults.push_back((peer, ProposalFault::NotLeader));
            return;
        }
        self.handle_progress(peer, Cid(cid.0.saturating_sub(1)));
        if !self.synced {
            // Rule S1. The leader says it again together with its SYNC.
            return;
        }
        let hash = self.hash(cid, &batch);
        let Some(instance) = self.instance_mut(peer, cid) else { return };
        match &instance.proposal {
            Some(known) if known.epoch == epoch => {
                if known.hash != hash {
                    let proposals = known
                        .signature
                        .clone()
                        .map(|first| [(known.hash, first), (hash, signature)]);
                    self.convict_leader(cid, ProposalFault::TwoProposals, proposals);
                }
            }
            _ => instance.proposal = Some(Proposal::new(epoch, batch, hash, Some(signature))),
        }
    }

    /// A vote arrived. A conflicting second vote of the same kind does not count.
    pub fn handle_vote(&mut self, peer: usize, cid: Cid, epoch: Epoch, hash: Digest, vote: Vote) {
        let current = self.epoch();
        let kept = match vote {
            Vote::Write => current.0..=current.0.saturating_add(EPOCHS),
            // An ACCEPT of an epoch that is over still counts for deciding (rule S2).
            Vote::Accept(_) => {
                current.0.saturating_sub(EPOCHS).max(1)..=current.0.saturating_add(EPOCHS)
            }
        };
        if !kept.contains(&epoch.0) {
            return;
        }
        self.handle_progress(peer, Cid(cid.0.saturating_sub(1)));
        if matches!(vote, Vote::Accept(_)) {
            self.accepted_by[peer] = self.accepted_by[peer].max(cid);
        }
        let Some(instance) = self.instance_mut(peer, cid) else { return };
        let cast = match vote {
            Vote::Write => instance.writes.cast(peer, epoch, hash, ()),
            Vote::Accept(signature) => instance.accepts.cast(peer, epoch, hash, signature),
        };
        if cast == Cast::Conflicting {
            self.faults.push_back((peer, ProposalFault::TwoVotes));
        }
    }

    /// May this replica propose the next batch now? One proposal an instance and epoch; after a
    /// leader change the first one goes out as the SYNC, and only where nothing binds it.
    #[must_use]
    pub fn may_propose(&self) -> bool {
        if !self.leads() {
            return false;
        }
        if !self.synced {
            return self.must_propose();
        }
        let epoch = self.epoch();
        self.instances
            .get(&self.last.next())
            .and_then(|instance| instance.proposal.as_ref())
            .is_none_or(|proposal| proposal.epoch < epoch)
    }

    /// Does everybody wait for this replica's SYNC, with any valid batch, the empty one too?
    #[must_use]
    pub fn must_propose(&self) -> bool {
        let next = self.last.next();
        !self.synced && self.choice == Some(SyncChoice { cid: next, choice: Choice::Unbound })
    }

    /// Proposes a batch for the next instance, at the agreed time that follows from `wall`.
    ///
    /// # Panics
    /// Where [`Consensus::may_propose`] is false: the caller is to blame.
    pub fn propose(&mut self, wall: UnixMicros, entries: Vec<BatchEntry>, admission: &Admission) {
        assert!(self.may_propose(), "one proposal an instance and epoch");
        let time = wall.max(UnixMicros(self.last_time.0.saturating_add(1)));
        let batch = Batch { time, entries };
        if !self.synced {
            self.send_sync(batch);
            return;
        }
        let (cid, epoch) = (self.last.next(), self.epoch());
        let hash = self.hash(cid, &batch);
        let held = Held::from_admission(&batch, admission, |_| true);
        let view = &self.config.view;
        let signature = sign_propose(&self.config.signing_key, view, cid, epoch, hash);
        let instance = self.instances.entry(cid).or_default();
        instance.proposal =
            Some(Proposal::new(epoch, batch.clone(), hash, Some(signature.clone())));
        instance.values.insert(hash, held.expect("admitted requests have bodies (rule A4)"));
        // A leader that forgot what it proposed would propose twice.
        self.record_written(cid, epoch, hash);
        self.send(self.others(), PeerMessage::Propose { cid, epoch, batch, signature });
    }

    fn close(&mut self, cid: Cid, hash: Digest, time: UnixMicros) {
        assert_eq!(cid, self.last.next(), "instances are decided in order");
        assert_eq!(self.proven, self.last, "instances are decided once the one before is proven");
        self.last = cid;
        self.last_hash = hash;
        self.last_time = time;
        self.peers_last[self.config.me] = cid;
    }

    /// The proposal for the next instance, while this replica has not got all of its bodies.
    #[must_use]
    pub fn incomplete(&self) -> Option<&Batch> {
        let instance = self.instances.get(&self.last.next())?;
        let proposal = instance.proposal.as_ref().filter(|known| known.epoch == self.epoch())?;
        (!instance.values.contains_key(&proposal.hash)).then_some(&proposal.batch)
    }

    /// The time of a proposal that waits for this replica's clock (rule N6).
    #[must_use]
    pub fn waits_for_clock(&self, wall: UnixMicros) -> Option<Duration> {
        let proposal = self.instances.get(&self.last.next())?.proposal.as_ref()?;
        let ahead = proposal.batch.time.0.checked_sub((wall + self.config.max_drift).0)?;
        (ahead > 0 && !proposal.bound && proposal.epoch == self.epoch())
            .then(|| Duration::from_micros(ahead))
    }
}
