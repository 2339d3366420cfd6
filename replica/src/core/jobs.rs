//! A thread for what takes time in proportion to the state: taking and restoring snapshots.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use mio::Waker;
use tracing::{error, warn};
use webbft_protocol::execution::Service;
use webbft_protocol::replica::{StateJob, StateJobDone};

/// The worker, as the core sees it. It ends with the core, after the job at hand.
#[derive(Debug)]
pub(super) struct Jobs<S> {
    to_worker: Sender<StateJob<S>>,
    done: Receiver<StateJobDone<S>>,
}

impl<S: Service> Jobs<S> {
    /// Starts the thread. Each outcome wakes the core.
    ///
    /// # Errors
    /// Where the operating system refuses.
    pub(super) fn start(waker: Arc<Waker>) -> io::Result<Self> {
        let (to_worker, jobs) = channel::<StateJob<S>>();
        let (to_core, done) = channel();
        std::thread::Builder::new().name("snapshots".to_owned()).spawn(move || {
            for job in jobs {
                if to_core.send(job.run()).is_err() {
                    return;
                }
                if let Err(error) = waker.wake() {
                    warn!(%error, "cannot wake the core thread");
                }
            }
        })?;
        Ok(Self { to_worker, done })
    }

    /// Hands a job over.
    pub(super) fn run(&self, job: StateJob<S>) {
        if self.to_worker.send(job).is_err() {
            error!("the snapshot thread has ended: this replica takes no part in checkpoints");
        }
    }

    /// The outcome of a job, once it is there.
    pub(super) fn poll_done(&self) -> Option<StateJobDone<S>> {
        self.done.try_recv().ok()
    }
}
