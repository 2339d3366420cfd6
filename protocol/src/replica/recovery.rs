//! A restart with a log (rules N4 and S3).

use super::Replica;
use super::record::Record;
use crate::execution::Service;

/// What a replica finds on its disk when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
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

impl<S: Service> Replica<S> {
    /// Takes up where the log ends.
    pub(super) fn recover(&mut self, recovered: Recovered) {
        for record in recovered.records {
            if let Some(decided) = self.consensus.replay(record) {
                self.apply(&decided);
            }
        }
        self.consensus.finish_replay();
    }
}
