//! `replica.toml`.

use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;
use webbft_protocol::membership::{ReplicaId, View};

use crate::keys::Keys;

/// A checked configuration: everything it names exists and fits together.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) view: Arc<View>,
    pub(crate) me: usize,
    pub(crate) keys: Keys,
    pub(crate) service: String,
    pub(crate) listen_http: String,
    pub(crate) listen_peer: String,
    pub(crate) static_dir: Option<PathBuf>,
    pub(crate) data_dir: PathBuf,
    pub(crate) limits: Limits,
}

/// What is wrong with a configuration: invalid input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// Line and column, from 1, where the fault can be pinned down.
    pub at: Option<(usize, usize)>,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some((line, column)) = self.at {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for ConfigError {}

/// The file as it is written. docs/operations.md has the table of its fields.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    view: Spanned<PathBuf>,
    id: Spanned<u16>,
    keys: Spanned<PathBuf>,
    service: Spanned<String>,
    static_dir: Option<Spanned<PathBuf>>,
    #[serde(default = "here")]
    data_dir: PathBuf,
    durability: Option<Spanned<String>>,
    listen: ListenSection,
    #[serde(default)]
    limits: Limits,
    tls: Option<Spanned<toml::Value>>,
}

fn here() -> PathBuf {
    PathBuf::from(".")
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListenSection {
    http: Spanned<String>,
    peer: Spanned<String>,
}

/// Bounds on what strangers can make a replica hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Connections in all.
    pub(crate) max_links: usize,
    /// Connections from one IP address.
    pub(crate) max_links_per_address: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_links: 4096, max_links_per_address: 1024 }
    }
}

impl Config {
    /// Reads and checks a configuration. Relative paths in it are relative to the file.
    ///
    /// # Errors
    /// The first thing found wrong, with its line and column where it has one.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let fail = |at, message| ConfigError { file: path.to_owned(), at, message };
        let text = fs::read_to_string(path).map_err(|error| fail(None, error.to_string()))?;
        let at = |span: Range<usize>| Some(position(&text, span.start));
        let file: ConfigFile = toml::from_str(&text)
            .map_err(|error| fail(error.span().and_then(at), error.message().to_owned()))?;
        let base = path.parent().unwrap_or(Path::new("."));

        if let Some(tls) = &file.tls {
            let message = "[tls] is not supported yet: clients' links are authenticated without \
                TLS; for https put a TLS proxy in front, and remove this section";
            return Err(fail(at(tls.span()), message.to_owned()));
        }
        if let Some(durability) = &file.durability {
            let message = match durability.get_ref().as_str() {
                "memory" => None,
                other @ ("sync" | "async") => {
                    Some(format!("durability {other:?} is not supported yet; write \"memory\""))
                }
                other => Some(format!("unknown durability {other:?}; write \"memory\"")),
            };
            if let Some(message) = message {
                return Err(fail(at(durability.span()), message));
            }
        }
        let view_path = base.join(file.view.get_ref());
        let view = read_view(&view_path).map_err(|error| match error {
            ViewFileError::Unreadable(error) => {
                fail(at(file.view.span()), format!("cannot read {}: {error}", view_path.display()))
            }
            ViewFileError::Invalid(error) => error,
        })?;
        let id = ReplicaId(*file.id.get_ref());
        let me = view.index_of(id).ok_or_else(|| {
            let ids: Vec<_> = view.members.iter().map(|member| member.id.to_string()).collect();
            let message = format!("the view has no member {id}; its members: {}", ids.join(", "));
            fail(at(file.id.span()), message)
        })?;
        let keys = Keys::read(&base.join(file.keys.get_ref()))
            .map_err(|error| fail(at(file.keys.span()), format!("{error:#}")))?;
        let member = &view.members[me];
        if keys.signing.public() != member.public_key || *keys.noise.public() != member.noise_key.0
        {
            let message = format!(
                "these are not the keys of member {id} in {}; `id`, `keys` and `view` must \
                 belong together",
                view_path.display()
            );
            return Err(fail(at(file.keys.span()), message));
        }
        let static_dir = match file.static_dir {
            None => None,
            Some(dir) => {
                let path = base.join(dir.get_ref());
                if !path.is_dir() {
                    let message = format!("{} is not a directory", path.display());
                    return Err(fail(at(dir.span()), message));
                }
                Some(path)
            }
        };
        for listen in [&file.listen.http, &file.listen.peer] {
            let has_port = listen
                .get_ref()
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
            if !has_port {
                let message = format!(
                    "{:?} is not HOST:PORT; write for example \"0.0.0.0:7100\"",
                    listen.get_ref()
                );
                return Err(fail(at(listen.span()), message));
            }
        }
        Ok(Self {
            view: Arc::new(view),
            me,
            keys,
            service: file.service.into_inner(),
            listen_http: file.listen.http.into_inner(),
            listen_peer: file.listen.peer.into_inner(),
            static_dir,
            data_dir: base.join(file.data_dir),
            limits: file.limits,
        })
    }

    /// Serves the files of this directory instead of the configured one.
    ///
    /// # Errors
    /// Where it is no directory.
    pub fn set_static_dir(&mut self, dir: PathBuf) -> anyhow::Result<()> {
        if !dir.is_dir() {
            anyhow::bail!("--static {}: not a directory", dir.display());
        }
        self.static_dir = Some(dir);
        Ok(())
    }
}

/// Why a view file is of no use.
#[derive(Debug)]
enum ViewFileError {
    Unreadable(std::io::Error),
    Invalid(ConfigError),
}

fn read_view(path: &Path) -> Result<View, ViewFileError> {
    let text = fs::read_to_string(path).map_err(ViewFileError::Unreadable)?;
    let invalid =
        |at, message| ViewFileError::Invalid(ConfigError { file: path.to_owned(), at, message });
    let view: View = serde_json::from_str(&text).map_err(|error| {
        let text = error.to_string();
        // The position stands before the message already.
        let message = text.split(" at line ").next().unwrap_or_default().to_owned();
        invalid(Some((error.line(), error.column())), message)
    })?;
    view.validate().map_err(|error| invalid(None, error.to_string()))?;
    Ok(view)
}

/// Reads and validates a view file.
///
/// # Errors
/// What is wrong with it, and where.
pub fn load_view(path: &Path) -> Result<View, ConfigError> {
    read_view(path).map_err(|error| match error {
        ViewFileError::Invalid(error) => error,
        ViewFileError::Unreadable(error) => {
            ConfigError { file: path.to_owned(), at: None, message: error.to_string() }
        }
    })
}

/// Line and column, from 1, of a byte offset.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |index| index + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
