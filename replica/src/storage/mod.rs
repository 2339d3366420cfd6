//! A replica's memory on disk (rule N4): its log, its newest snapshot, and whose they are.
//!
//! All of it is one redb database, `state.redb`, in `data_dir`; beside it lie the marker files
//! that tell a first start from a lost disk ([`data_dir`]). A thread writes ([`writer`]): what has
//! been queued since the last commit goes into the next one (group commit), and the core is told
//! how far the log is on disk. docs/operations.md says what survives what.

#[cfg(test)]
mod bench;
pub(crate) mod data_dir;
#[cfg(test)]
mod data_dir_tests;
mod error;
#[cfg(test)]
mod faulty;
#[cfg(test)]
mod kill_tests;
mod rows;
mod seal;
mod store;
#[cfg(test)]
mod store_tests;
#[cfg(test)]
mod testing;
pub(crate) mod writer;

pub(crate) use error::{Identity, StorageError};
pub(crate) use rows::{FORMAT, Votes};
pub(crate) use store::{Contents, SnapshotParts, Store, StoredSnapshot};
