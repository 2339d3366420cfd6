//! What checkpoints mean for consensus (rules C4, C5 and C7).

use super::Consensus;
use crate::auth::VerifiedCheckpoint;
use crate::membership::Cid;
use crate::time::UnixMicros;
use crate::wire::LastProof;

impl Consensus {
    /// From now on this replica does not vote: its state is wrong (rule C4).
    pub const fn end_voting(&mut self) {
        self.voting = false;
    }

    /// The oldest decision kept, or the next to come.
    #[must_use]
    pub const fn first_kept(&self) -> Cid {
        self.decisions.first()
    }

    /// A checkpoint is stable, after instance `stable`: decisions up to `needless` go, and the
    /// others up to it only stay while there is room (rule C5).
    pub fn handle_stable(&mut self, needless: Cid, stable: Cid) {
        self.decisions.handle_stable(needless, stable);
    }

    /// The state after a stable checkpoint was put in place (rule C7): the next instance follows
    /// that. It may lie behind where this replica was with a wrong state. The checkpoint proves
    /// what was decided (rule N3).
    pub fn install_checkpoint(&mut self, stable: &VerifiedCheckpoint, time: UnixMicros) {
        let id = stable.id();
        self.instances = self.instances.split_off(&id.cid.next());
        self.last = id.cid;
        self.last_hash = id.hash;
        self.last_time = time;
        self.proven = id.cid;
        self.proven_hash = id.hash;
        self.late_accepts = None;
        self.origin = LastProof::Checkpoint(stable.certificate().clone());
        self.choice = None;
        self.wanted = None;
        self.peers_last[self.config.me] = id.cid;
        self.decisions.restart_after(id.cid);
    }
}
