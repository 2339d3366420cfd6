//! Keys in files.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER_PERMISSIVE;
use webbft_protocol::auth::ClientIdentity;

use crate::config::Identity;
use crate::error::StartError;

/// What a longer file cannot be: 64 digits and the end of the line.
const MAX_FILE: u64 = 1024;

/// The identity, and the locked file that it is from. The lock is let go with the file.
pub(crate) fn open(identity: Identity) -> Result<(ClientIdentity, Option<File>), StartError> {
    match identity {
        Identity::Ephemeral => Ok((ClientIdentity::from_secret(crate::random()?), None)),
        Identity::Supplied(identity) => Ok((identity, None)),
        Identity::Stored(path) => {
            let (identity, file) = stored(&path)?;
            Ok((identity, Some(file)))
        }
    }
}

fn stored(path: &Path) -> Result<(ClientIdentity, File), StartError> {
    let wrong = |reason: String| StartError::Identity { path: path.to_owned(), reason };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path, crate::random()?)
            .and_then(|()| File::open(path))
            .map_err(|error| wrong(format!("cannot be made: {error}")))?,
        opened => opened.map_err(|error| wrong(format!("cannot be read: {error}")))?,
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(StartError::IdentityInUse { path: path.to_owned() });
        }
        Err(TryLockError::Error(error)) => return Err(wrong(format!("cannot be locked: {error}"))),
    }
    check_mode(&file).map_err(wrong)?;
    let mut text = String::new();
    (&file)
        .take(MAX_FILE)
        .read_to_string(&mut text)
        .map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let secret = HEXLOWER_PERMISSIVE
        .decode(text.trim().as_bytes())
        .ok()
        .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
        .ok_or_else(|| wrong("does not hold a key, 64 hexadecimal digits".to_owned()))?;
    Ok((ClientIdentity::from_secret(secret), file))
}

/// Makes the file with all its contents or not at all. Where another process was faster its key
/// stays.
fn create(path: &Path, secret: [u8; 32]) -> io::Result<()> {
    let mut suffix = [0; 8];
    getrandom::fill(&mut suffix)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", HEXLOWER_PERMISSIVE.encode(&suffix)));
    let unfinished: PathBuf = path.with_file_name(name);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&unfinished)?;
    let written = writeln!(file, "{}", HEXLOWER_PERMISSIVE.encode(&secret))
        .and_then(|()| file.sync_all())
        .and_then(|()| match std::fs::hard_link(&unfinished, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        });
    std::fs::remove_file(&unfinished)?;
    written
}

#[cfg(unix)]
fn check_mode(file: &File) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = file.metadata().map_err(|error| error.to_string())?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(format!("can be read by others (mode {:03o}); make it 600", mode & 0o777))
}

#[cfg(not(unix))]
fn check_mode(_file: &File) -> Result<(), String> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_kept_and_locked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.key");
        let (first, lock) = stored(&path).unwrap();
        let second = stored(&path).unwrap_err();
        assert!(matches!(second, StartError::IdentityInUse { .. }), "{second}");
        drop(lock);
        let (again, _lock) = stored(&path).unwrap();
        assert_eq!(first.id(), again.id());
        // Nothing unfinished is left.
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn the_faster_process_wins() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.key");
        create(&path, [1; 32]).unwrap();
        create(&path, [2; 32]).unwrap();
        let (identity, _lock) = stored(&path).unwrap();
        assert_eq!(identity.id(), ClientIdentity::from_secret([1; 32]).id());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.key");
        create(&path, [1; 32]).unwrap();
        std::fs::write(&path, "secret\n").unwrap();
        let error = stored(&path).unwrap_err().to_string();
        assert!(
            error.ends_with("client.key does not hold a key, 64 hexadecimal digits"),
            "{error}"
        );
        let missing = dir.path().join("no/such/client.key");
        let error = stored(&missing).unwrap_err().to_string();
        assert!(error.contains("cannot be made"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.key");
        create(&path, [1; 32]).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = stored(&path).unwrap_err().to_string();
        assert!(error.ends_with("can be read by others (mode 644); make it 600"), "{error}");
    }
}
