//! The core's end of the storage (rule N4): records go out, word of what is on disk comes in.

use std::io;

use tracing::info;
use webbft_protocol::execution::Service;
use webbft_protocol::replica::Replica;
use webbft_protocol::time::Now;

use super::{ToCore, ToCoreSender};
use crate::Durability;
use crate::storage::writer::{Report, Writer};
use crate::storage::{SnapshotParts, StorageError, Store, Votes};

/// Where a replica's records go.
#[derive(Debug)]
pub(super) struct Disk {
    /// `None` where nothing is kept.
    writer: Option<Writer>,
    durability: Durability,
    /// The replica votes again, and the storage does not say so yet.
    votes_again: bool,
}

impl Disk {
    /// Starts the storage thread, if there is a storage.
    ///
    /// # Errors
    /// Where the operating system gives no thread.
    pub(super) fn start(
        store: Option<Store>,
        durability: Durability,
        core: ToCoreSender,
    ) -> io::Result<Self> {
        let report = move |report| core.send(ToCore::Storage(report));
        let writer = store.map(|store| Writer::start(store, report)).transpose()?;
        Ok(Self { writer, durability, votes_again: false })
    }

    /// Takes what the replica wants stored, as far as there is room.
    pub(super) fn take<S: Service>(&mut self, now: Now, replica: &mut Replica<S>) {
        let Some(writer) = &self.writer else { return };
        while let Some(stable) = replica.poll_keep_snapshot() {
            writer.keep_snapshot(SnapshotParts {
                certificate: stable.certificate().certificate().clone(),
                manifest: stable.snapshot().manifest().encode(),
                chunks: stable.snapshot().chunks().to_vec(),
            });
        }
        loop {
            let mut last = None;
            while writer.has_room() {
                let Some((position, record)) = replica.poll_record() else {
                    if self.votes_again {
                        // After the records on which that rests.
                        self.votes_again = false;
                        writer.set_votes(match self.durability {
                            Durability::Async => Votes::Doubtful,
                            Durability::Sync | Durability::Memory => Votes::Complete,
                        });
                    }
                    break;
                };
                writer.append(record);
                last = Some(position);
            }
            match last {
                // Nothing waits for the disk, so the replica may have more to say at once.
                Some(position) if self.durability == Durability::Async => {
                    replica.handle_durable(now, position);
                }
                _ => return,
            }
        }
    }

    /// Takes note of what the storage thread says.
    ///
    /// # Errors
    /// Where nothing can be stored any more: the replica must not go on.
    pub(super) fn handle<S: Service>(
        &self,
        now: Now,
        report: Report,
        replica: &mut Replica<S>,
    ) -> Result<(), StorageError> {
        match report {
            Report::Durable(position) if self.durability == Durability::Sync => {
                replica.handle_durable(now, position);
            }
            // Only that there is room again.
            Report::Durable(_) => {}
            Report::SnapshotDurable(cid) => {
                info!(%cid, "the state of a checkpoint is on disk");
                replica.handle_snapshot_durable(now, cid);
            }
            Report::Failed(error) => return Err(error),
        }
        Ok(())
    }

    /// The replica has caught up after it had forgotten votes.
    pub(super) const fn votes_again(&mut self) {
        self.votes_again = true;
    }

    /// Writes all that the replica wants stored and leaves a clean file.
    ///
    /// # Errors
    /// Where that fails.
    pub(super) fn finish<S: Service>(self, replica: &mut Replica<S>) -> Result<(), StorageError> {
        let Some(writer) = self.writer else { return Ok(()) };
        while let Some((_, record)) = replica.poll_record() {
            writer.append(record);
        }
        if !replica.status().learner {
            writer.set_votes(Votes::Complete);
        }
        writer.finish()
    }
}
