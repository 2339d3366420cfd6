//! A restart with a log (rules N4 and S3).

use std::sync::Arc;

use super::record::Record;
use super::snapshots::{StableSnapshot, StableSnapshotError};
use super::{Notice, Replica};
use crate::execution::{ExecutionLimits, Executor, Service};

/// What a replica finds on its disk when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The latest stable checkpoint whose state was stored (rule C5).
    pub snapshot: Option<Arc<StableSnapshot>>,
    /// The log's records, in order: a prefix of what was recorded.
    pub records: Vec<Record>,
    /// Is it a prefix that holds everything this replica gave its word for?
    pub votes: VotesMemory,
}

/// May a replica have given its word for something that it finds no record of?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VotesMemory {
    /// No: every record was durable before what depended on it left.
    Complete,
    /// Perhaps: it keeps its state and follows without voting until that is safe (rule D3).
    Doubtful,
}

impl Recovered {
    /// The stored state, restored. Where this program cannot read it, the replica begins without,
    /// as one that may have forgotten its votes: those in the log may rest on that state.
    pub(super) fn restore<S: Service>(
        &mut self,
        limits: &ExecutionLimits,
    ) -> Result<Option<Executor<S>>, Notice> {
        let Some(stable) = self.snapshot.clone() else { return Ok(None) };
        Executor::restore(stable.snapshot(), limits.clone()).map(Some).map_err(|error| {
            self.snapshot = None;
            self.votes = VotesMemory::Doubtful;
            let error = StableSnapshotError::Snapshot(error);
            Notice::TransferFailed { cid: stable.cid(), error }
        })
    }
}

impl<S: Service> Replica<S> {
    /// Takes up where the log ends. The snapshot's state is in place already.
    pub(super) fn recover(&mut self, recovered: Recovered) {
        if let Some(stable) = recovered.snapshot {
            self.durable = stable.cid();
            self.consensus.install_checkpoint(stable.certificate(), self.executor.time());
            self.checkpoints.restore(stable.certificate().clone());
            self.snapshots.adopt(stable, true, self.now.instant);
        }
        for record in recovered.records {
            if let Some(decided) = self.consensus.replay(record) {
                self.apply(&decided);
            }
        }
        self.consensus.finish_replay();
    }
}
