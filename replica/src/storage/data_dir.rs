//! What a replica remembers when it starts (rules N4 and D3), by what lies in its `data_dir`.
//!
//! - `genesis`: this replica has never run. `webbft init` puts it there; the first start renames
//!   it to `incarnation` before the first message leaves.
//! - `incarnation`: this replica has run.
//! - `state.redb`: its log and its newest snapshot, unless `durability = "memory"`.
//!
//! A directory without any of them is not a first start: it may be a disk that was replaced. The
//! replica then follows the others without voting until what it forgot cannot matter.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use tracing::warn;

use super::store::{Changes, sync_dir};
use super::{Contents, Identity, Store, Votes};

const GENESIS: &str = "genesis";
const INCARNATION: &str = "incarnation";

const MARKER_TEXT: &[u8] = b"While this file is named genesis, the replica has never run. Its first \
    start renames it to\nincarnation. Never rename it back: a replica that has run would vote as if \
    it had not.\n";

/// What is kept over a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Durability {
    /// Everything: what a vote is about is on disk before the vote leaves.
    Sync,
    /// What was on disk by the time of a crash; a clean stop keeps everything.
    Async,
    /// Nothing.
    Memory,
}

impl Durability {
    /// The one of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Sync, Self::Async, Self::Memory].into_iter().find(|mode| mode.name() == name)
    }

    /// Its name in a configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Async => "async",
            Self::Memory => "memory",
        }
    }
}

/// What the operator says about this start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Set the storage aside and fetch the state from the others.
    pub rejoin: bool,
    /// Vote although votes may be forgotten.
    pub accept_lost_votes: bool,
}

/// How a replica begins.
#[derive(Debug)]
pub(crate) enum Memory {
    /// It has never run.
    Genesis,
    /// It has run, and nothing of it is known.
    Lost,
    /// It remembers.
    Recovered(Contents),
}

/// Where, whose and how.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) dir: &'a Path,
    /// Where the configuration file is: a forgotten marker may lie there.
    pub(crate) config_dir: &'a Path,
    pub(crate) durability: Durability,
    pub(crate) identity: Identity,
    /// It is the only replica: nobody could be contradicted.
    pub(crate) alone: bool,
}

impl Place<'_> {
    /// Finds out what this replica remembers, and makes sure that the next start is not taken for
    /// the first. The store is there unless the durability is `memory`.
    ///
    /// # Errors
    /// Where the directory contradicts itself or the configuration, or the storage is damaged.
    /// The message says what to do.
    pub(crate) fn begin(&self, recovery: Recovery) -> anyhow::Result<(Memory, Option<Store>)> {
        fs::create_dir_all(self.dir)
            .with_context(|| format!("cannot create {}", self.dir.display()))?;
        if recovery.rejoin {
            self.set_aside()?;
        }
        let first = self.is_first()?;
        match self.durability {
            Durability::Memory => Ok((self.without_disk(first)?, None)),
            Durability::Sync | Durability::Async => {
                let (memory, store) = self.with_disk(first, recovery)?;
                Ok((memory, Some(store)))
            }
        }
    }

    /// Does the marker say that this replica has never run?
    fn is_first(&self) -> anyhow::Result<bool> {
        let (genesis, incarnation) = (self.dir.join(GENESIS), self.dir.join(INCARNATION));
        let first = exists(&genesis)?;
        ensure!(
            !(first && exists(&incarnation)?),
            "{} says that this replica has never run, and {} that it has; remove the former, \
             unless the service begins anew with all its replicas",
            genesis.display(),
            incarnation.display()
        );
        let elsewhere = self.config_dir.join(GENESIS);
        ensure!(
            first
                || exists(&incarnation)?
                || exists(&Store::path(self.dir))?
                || !exists(&elsewhere)?,
            "{} is empty, and {} is not in it: if this is the first start of this replica, move \
             that file there, otherwise remove it",
            self.dir.display(),
            elsewhere.display()
        );
        Ok(first)
    }

    fn without_disk(&self, first: bool) -> anyhow::Result<Memory> {
        let path = Store::path(self.dir);
        ensure!(
            !exists(&path)?,
            "{} is there, and with durability = \"memory\" it would fall behind what this replica \
             votes; write \"sync\" or \"async\", or start once with --rejoin, which sets it aside",
            path.display()
        );
        self.mark_as_run()?;
        if first {
            return Ok(Memory::Genesis);
        }
        if self.alone {
            warn!(
                "the only replica keeps nothing on disk (durability = \"memory\"): \
                 the service begins anew with an empty state"
            );
            return Ok(Memory::Genesis);
        }
        Ok(Memory::Lost)
    }

    fn with_disk(&self, first: bool, recovery: Recovery) -> anyhow::Result<(Memory, Store)> {
        if !exists(&Store::path(self.dir))? {
            if first {
                // The storage first: a crash between the two is a first start again.
                let store = Store::create(self.dir, self.identity, self.running(Votes::Complete))?;
                self.mark_as_run()?;
                return Ok((Memory::Genesis, store));
            }
            ensure!(
                !self.alone,
                "{} is gone, and there is no other replica to fetch the state from; restore it \
                 from a copy made while the replica was stopped, or begin anew with an empty \
                 state: put a file named {GENESIS} into {} and remove {INCARNATION}",
                Store::path(self.dir).display(),
                self.dir.display()
            );
            warn!(
                dir = %self.dir.display(),
                "no memory of earlier runs: the state is fetched from the other replicas, and this \
                 one votes again when that is safe. (At the very first start of a service a file \
                 named {GENESIS}, made by `webbft init`, must be in this directory.)"
            );
            let store = Store::create(self.dir, self.identity, Votes::Lost)?;
            self.mark_as_run()?;
            return Ok((Memory::Lost, store));
        }
        let (mut store, mut contents) = Store::open(self.dir, self.identity)?;
        let is_empty = contents.records.is_empty() && contents.snapshot.is_none();
        if first {
            ensure!(
                is_empty,
                "{} says that this replica has never run, and {} that it has; remove the former",
                self.dir.join(GENESIS).display(),
                Store::path(self.dir).display()
            );
            contents.votes = Votes::Complete;
        } else if contents.votes == Votes::Doubtful && self.alone {
            warn!("the last stop was not clean: what was not yet on disk is lost");
            contents.votes = Votes::Complete;
        } else if recovery.accept_lost_votes && contents.votes != Votes::Complete {
            if contents.votes == Votes::Lost && is_empty {
                warn!("--accept-lost-votes: this replica remembers nothing at all, and follows");
            } else {
                warn!(
                    "VOTING ALTHOUGH VOTES MAY BE FORGOTTEN (--accept-lost-votes): the replicas \
                     may contradict what clients were told before"
                );
                contents.votes = Votes::Complete;
            }
        }
        let votes = Some(self.running(contents.votes));
        store.commit(&Changes { votes, ..Changes::default() })?;
        self.mark_as_run()?;
        let memory = match (is_empty, contents.votes) {
            (true, Votes::Complete) => Memory::Genesis,
            (true, Votes::Doubtful | Votes::Lost) => Memory::Lost,
            (false, _) => Memory::Recovered(contents),
        };
        Ok((memory, store))
    }

    /// What the storage is to say while the replica runs: an unclean stop may come at any time.
    fn running(&self, votes: Votes) -> Votes {
        match (self.durability, votes) {
            (Durability::Async, Votes::Complete) => Votes::Doubtful,
            _ => votes,
        }
    }

    /// Renames `genesis` to `incarnation`, or makes it.
    fn mark_as_run(&self) -> anyhow::Result<()> {
        let incarnation = self.dir.join(INCARNATION);
        let marked = match fs::rename(self.dir.join(GENESIS), &incarnation) {
            Err(error) if error.kind() == ErrorKind::NotFound => create(&incarnation, MARKER_TEXT),
            result => result,
        };
        marked.with_context(|| format!("cannot write {}", incarnation.display()))?;
        Ok(sync_dir(self.dir)?)
    }

    fn set_aside(&self) -> anyhow::Result<()> {
        ensure!(!self.alone, "--rejoin: there is no other replica to fetch the state from");
        if exists(&self.dir.join(GENESIS))? {
            bail!("--rejoin: this replica has never run; start it without");
        }
        let path = Store::path(self.dir);
        if !exists(&path)? {
            warn!("--rejoin: there is no {}", path.display());
            return Ok(());
        }
        let free = (1_u32..).map(|n| self.dir.join(format!("state.redb.old-{n}")));
        for aside in free {
            if exists(&aside)? {
                continue;
            }
            // Only then may the storage be gone.
            self.mark_as_run()?;
            fs::rename(&path, &aside)
                .with_context(|| format!("cannot rename {}", path.display()))?;
            sync_dir(self.dir)?;
            warn!(to = %aside.display(), "the storage is set aside; remove it when all is well");
            break;
        }
        Ok(())
    }
}

/// Marks `dir` as that of a replica that has never run.
///
/// # Errors
/// Where the file cannot be written.
pub(crate) fn mark_genesis(dir: &Path) -> anyhow::Result<()> {
    let path = dir.join(GENESIS);
    create(&path, MARKER_TEXT).with_context(|| format!("cannot write {}", path.display()))
}

/// Makes the next start of the replicas with these directories the first one again, where none of
/// them has anything on disk. Only for a group that is started as a whole, on one machine.
pub(crate) fn begin_anew(dirs: &[PathBuf]) -> anyhow::Result<()> {
    for dir in dirs {
        if exists(&Store::path(dir))? {
            return Ok(());
        }
    }
    for dir in dirs {
        let (from, to) = (dir.join(INCARNATION), dir.join(GENESIS));
        match fs::rename(&from, &to) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot rename {}", from.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Makes a file that is on disk with its content when this returns; an existing one stays.
fn create(path: &Path, text: &[u8]) -> std::io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(mut file) => {
            file.write_all(text)?;
            file.sync_all()
        }
    }
}

fn exists(path: &Path) -> anyhow::Result<bool> {
    path.try_exists().with_context(|| format!("cannot look for {}", path.display()))
}
