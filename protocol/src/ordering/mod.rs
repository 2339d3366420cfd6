//! The order of requests: admission (rules A), then one consensus instance after another
//! (rules N).

mod admission;
mod batch;
mod checkpoints;
mod consensus;
mod decisions;
mod held;
mod instance;
mod leader_timer;
mod learner;
mod pending;
mod proof;
mod stops;
mod sync_choice;
mod vouching;
mod wanted;

pub use admission::{Admission, AdmissionConfig, VouchFault};
pub use batch::BatchError;
pub use checkpoints::{CheckpointFault, Checkpoints, Dissent};
pub use consensus::{Consensus, ConsensusConfig, ConsensusOutput, Decided, ProposalFault, Vote};
pub use decisions::Decisions;
pub use leader_timer::{LeaderTimer, Overdue};
pub use learner::Learner;
pub use pending::Body;
pub use sync_choice::SyncFault;
pub use wanted::{Patience, Wanted};
