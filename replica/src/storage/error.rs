//! What can be wrong with a replica's storage, and what its operator does about it.

use std::io;
use std::path::{Path, PathBuf};

use webbft_protocol::membership::{ReplicaId, ServiceId, ViewNumber};

/// Why a replica cannot use its storage. Each message names the file and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StorageError {
    /// The disk, or the quota, is full.
    #[error(
        "{}: no space left (on the device, in the quota, or within the limit of a file's size); make \
         room and start the replica again: \
         it continues where it stopped", file.display()
    )]
    Full {
        /// The file.
        file: PathBuf,
    },
    /// The operating system refuses.
    #[error("{}: {reason}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What it says.
        reason: String,
    },
    /// The content is not what was stored.
    #[error(
        "{}: damaged: {what}. A replica must not vote from a damaged memory. Restore nothing: \
         start it once with --rejoin, which sets the file aside, and it fetches the state from the \
         others and votes again when that is safe", file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Which part of it, and how.
        what: String,
    },
    /// The file is of another replica, service or view.
    #[error(
        "{}: this is the storage of {found}, and this replica is {wanted}; \
         every replica needs a `data_dir` of its own", file.display()
    )]
    NotOurs {
        /// The file.
        file: PathBuf,
        /// Whose it is.
        found: Identity,
        /// Who asks.
        wanted: Identity,
    },
    /// The file was written by another version of this program.
    #[error(
        "{}: its format is version {found}, and this program reads version {}; \
         run the version of webbft that wrote it", file.display(), super::FORMAT
    )]
    Format {
        /// The file.
        file: PathBuf,
        /// What is written there.
        found: u32,
    },
    /// Another process has it open.
    #[error("{}: in use by another process; is this replica running already?", file.display())]
    InUse {
        /// The file.
        file: PathBuf,
    },
}

/// Whose storage it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The service.
    pub(crate) service: ServiceId,
    /// The view.
    pub(crate) view: ViewNumber,
    /// The replica.
    pub(crate) replica: ReplicaId,
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "replica {} in view {} of service {}", self.replica, self.view, self.service)
    }
}

impl StorageError {
    pub(crate) fn damaged(file: &Path, what: impl Into<String>) -> Self {
        Self::Damaged { file: file.to_owned(), what: what.into() }
    }

    pub(super) fn io(file: &Path, error: &io::Error) -> Self {
        let file = file.to_owned();
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::Full { file },
            _ => Self::Io { file, reason: error.to_string() },
        }
    }

    /// What the database says, in terms of this file.
    pub(super) fn database(file: &Path, error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen => Self::InUse { file: file.to_owned() },
            redb::Error::Io(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                ) =>
            {
                Self::damaged(file, error.to_string())
            }
            redb::Error::Io(error) => Self::io(file, &error),
            redb::Error::PreviousIo => {
                Self::io(file, &io::Error::other("an earlier operation failed"))
            }
            error => Self::damaged(file, error.to_string()),
        }
    }
}
