//! A replica's secret keys in a file that only its owner reads.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use webbft_protocol::auth::{NoiseKeypair, SigningKey};

/// The two secret keys of a replica.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    pub(crate) signing: SigningKey,
    pub(crate) noise: NoiseKeypair,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysFile {
    signing: String,
    noise: String,
}

impl Keys {
    /// Fresh keys from the operating system's randomness.
    pub(crate) fn generate() -> anyhow::Result<Self> {
        let random = || {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes)
                .map(|()| bytes)
                .context("the operating system gives no random bytes")
        };
        Ok(Self {
            signing: SigningKey::from_secret(&random()?),
            noise: NoiseKeypair::from_secret(random()?),
        })
    }

    /// Writes them to a new file of mode 0600.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let file = KeysFile {
            signing: HEXLOWER.encode(&self.signing.secret()),
            noise: HEXLOWER.encode(self.noise.secret()),
        };
        let text = format!(
            "# The secret keys of one replica: never copy them to another, never publish them.\n{}",
            toml::to_string(&file)?
        );
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file =
            options.open(path).with_context(|| format!("cannot create {}", path.display()))?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Reads them.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read the keys file {}", path.display()))?;
        refuse_if_others_read(path)?;
        // Nothing of the text goes into an error: it is secret.
        let file: KeysFile = toml::from_str(&text).map_err(|error| {
            anyhow::anyhow!("{}: not a keys file: {}", path.display(), error.message())
        })?;
        let secret = |name: &str, hex: &str| -> anyhow::Result<[u8; 32]> {
            let bytes = HEXLOWER.decode(hex.as_bytes()).ok();
            bytes.and_then(|bytes| bytes.try_into().ok()).with_context(|| {
                format!("{}: `{name}` must be 64 hexadecimal digits", path.display())
            })
        };
        Ok(Self {
            signing: SigningKey::from_secret(&secret("signing", &file.signing)?),
            noise: NoiseKeypair::from_secret(secret("noise", &file.noise)?),
        })
    }
}

#[cfg(unix)]
fn refuse_if_others_read(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        bail!(
            "{}: the keys can be read by others (mode {:o}); run: chmod 600 {0}",
            path.display(),
            mode & 0o777
        );
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_if_others_read(_path: &Path) -> anyhow::Result<()> {
    Ok(())
}
