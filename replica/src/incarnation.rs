//! Whether a replica has run before (rule D3).
//!
//! A replica that keeps nothing on disk must not vote again after a restart as if it had never
//! voted. A marker file, on disk before the first message leaves, tells the two cases apart.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use anyhow::Context as _;
use webbft_protocol::replica::Start;

/// Finds out whether this is the first start ever, and makes sure that the next one is not.
pub(crate) fn begin(data_dir: &Path) -> anyhow::Result<Start> {
    let create = || -> std::io::Result<()> {
        fs::create_dir_all(data_dir)?;
        let path = data_dir.join("incarnation");
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all(
            b"This replica has taken part. Never remove this file: without it a restarted\n\
              replica would vote as if it had never voted.\n",
        )?;
        file.sync_all()?;
        // The entry in the directory is as much part of it as the bytes.
        File::open(data_dir)?.sync_all()
    };
    match create() {
        Ok(()) => Ok(Start::Genesis),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Start::Learner),
        Err(error) => Err(error).with_context(|| {
            format!("cannot write the marker of the first start in {}", data_dir.display())
        }),
    }
}

/// Makes the next start the first one again. Only for a group that begins anew as a whole.
pub(crate) fn forget(data_dir: &Path) -> anyhow::Result<()> {
    let path = data_dir.join("incarnation");
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_start_is_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        assert_eq!(begin(&data).unwrap(), Start::Genesis);
        assert_eq!(begin(&data).unwrap(), Start::Learner);
        forget(&data).unwrap();
        assert_eq!(begin(&data).unwrap(), Start::Genesis);
    }
}
