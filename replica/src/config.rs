//! `replica.toml`.

use std::fmt;
use std::fs;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;
use webbft_protocol::execution::ExecutionLimits;
use webbft_protocol::membership::{ReplicaId, View};
use webbft_protocol::replica::Parameters;

use crate::Durability;
use crate::keys::Keys;

/// Shorter than this is shorter than a batch may take; longer, and nobody would wait.
const REQUEST_TIMEOUT_MS: RangeInclusive<u64> = 100..=60_000;

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
    /// Where the file is.
    pub(crate) config_dir: PathBuf,
    pub(crate) durability: Durability,
    pub(crate) limits: Limits,
    pub(crate) checkpoints: Checkpoints,
    /// T of rule S8.
    pub(crate) request_timeout: Duration,
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
    request_timeout_ms: Option<Spanned<u64>>,
    listen: ListenSection,
    #[serde(default)]
    limits: Limits,
    checkpoints: Option<Spanned<Checkpoints>>,
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
    /// Seconds until a connection must have sent its request, and a link its first frame.
    pub(crate) handshake_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_links: 4096, max_links_per_address: 1024, handshake_seconds: 10 }
    }
}

/// When checkpoints become due. Part of what the replicas agree on: the same at all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Checkpoints {
    /// After so many instances,
    pub(crate) instances: u64,
    /// or so many MiB of operations;
    pub(crate) megabytes: u64,
    /// but not more often than this.
    pub(crate) pause_seconds: u64,
}

impl Default for Checkpoints {
    fn default() -> Self {
        Self { instances: 1024, megabytes: 64, pause_seconds: 10 }
    }
}

impl Checkpoints {
    /// Bounds on replicated state with these.
    pub(crate) fn limits(self) -> ExecutionLimits {
        ExecutionLimits {
            checkpoint_every: self.instances,
            checkpoint_bytes: self.megabytes.saturating_mul(1 << 20),
            checkpoint_pause: Duration::from_secs(self.pause_seconds),
            ..ExecutionLimits::default()
        }
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
        let durability = match &file.durability {
            None => Durability::Sync,
            Some(name) => Durability::named(name.get_ref()).ok_or_else(|| {
                let message = format!(
                    "unknown durability {:?}; write \"sync\", \"async\" or \"memory\"",
                    name.get_ref()
                );
                fail(at(name.span()), message)
            })?,
        };
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
        let checkpoints = match file.checkpoints {
            None => Checkpoints::default(),
            Some(section) if section.get_ref().instances == 0 => {
                let message = "checkpoints.instances must be at least 1".to_owned();
                return Err(fail(at(section.span()), message));
            }
            Some(section) => section.into_inner(),
        };
        let request_timeout = match file.request_timeout_ms {
            None => Parameters::default().request_timeout,
            Some(time) if REQUEST_TIMEOUT_MS.contains(time.get_ref()) => {
                Duration::from_millis(time.into_inner())
            }
            Some(time) => {
                let message = format!(
                    "request_timeout_ms is {}; it must be from {} to {}",
                    time.get_ref(),
                    REQUEST_TIMEOUT_MS.start(),
                    REQUEST_TIMEOUT_MS.end()
                );
                return Err(fail(at(time.span()), message));
            }
        };
        Ok(Self {
            view: Arc::new(view),
            me,
            keys,
            service: file.service.into_inner(),
            listen_http: file.listen.http.into_inner(),
            listen_peer: file.listen.peer.into_inner(),
            static_dir,
            data_dir: base.join(file.data_dir),
            config_dir: base.to_owned(),
            durability,
            limits: file.limits,
            checkpoints,
            request_timeout,
        })
    }

    /// Keeps over a restart what this says, and not what the file says.
    pub const fn set_durability(&mut self, durability: Durability) {
        self.durability = durability;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::{Setup, init, places};
    use webbft_protocol::membership::MacAlgorithm;

    /// A set-up of four; gives the directory and the configuration of replica 1.
    fn set_up() -> (tempfile::TempDir, PathBuf, String) {
        let dir = tempfile::tempdir().unwrap();
        let setup = Setup {
            f: 1,
            mac: MacAlgorithm::HmacSha256,
            service: "kv".to_owned(),
            places: places(&["127.0.0.1".to_owned()], 4, 7100).unwrap(),
        };
        let configs = init(dir.path(), &setup).unwrap();
        let text = fs::read_to_string(&configs[1]).unwrap();
        (dir, configs[1].clone(), text)
    }

    fn error_of(path: &Path, text: &str) -> String {
        fs::write(path, text).unwrap();
        let error = Config::read(path).unwrap_err().to_string();
        let folder = path.parent().unwrap().display().to_string();
        error.replace(&(folder.clone() + "/"), "").replace(&folder, "")
    }

    #[test]
    fn what_init_writes_is_read() {
        let (_dir, path, _) = set_up();
        let config = Config::read(&path).unwrap();
        assert_eq!((config.me, config.service.as_str()), (1, "kv"));
        assert_eq!(config.listen_http, "127.0.0.1:7101");
        assert_eq!(config.listen_peer, "127.0.0.1:7201");
        assert_eq!(config.view.members[1].url, "ws://127.0.0.1:7101/ws");
        assert_eq!(config.limits, Limits::default());
        assert_eq!(config.durability, Durability::Sync);
        assert_eq!(config.checkpoints, Checkpoints::default());
        assert_eq!(Checkpoints::default().limits(), ExecutionLimits::default());
    }

    #[test]
    fn durability_is_by_name_and_sync_where_nothing_is_said() {
        let (_dir, path, text) = set_up();
        let line = "durability = \"sync\"\n";
        assert!(text.contains(line));
        for (instead, expected) in [
            ("", Durability::Sync),
            ("durability = \"async\"\n", Durability::Async),
            ("durability = \"memory\"\n", Durability::Memory),
        ] {
            fs::write(&path, text.replace(line, instead)).unwrap();
            assert_eq!(Config::read(&path).unwrap().durability, expected);
        }
    }

    #[test]
    fn checkpoints_are_configured() {
        let (_dir, path, text) = set_up();
        fs::write(&path, format!("{text}\n[checkpoints]\ninstances = 8\n")).unwrap();
        let limits = Config::read(&path).unwrap().checkpoints.limits();
        assert_eq!(limits, ExecutionLimits { checkpoint_every: 8, ..ExecutionLimits::default() });
        let error = error_of(&path, &format!("{text}\n[checkpoints]\ninstances = 0\n"));
        assert!(error.ends_with("checkpoints.instances must be at least 1"), "{error}");
    }

    #[test]
    fn the_request_timeout_is_configured() {
        let (_dir, path, text) = set_up();
        let with =
            |time: &str| text.replace("id = 1", &format!("id = 1\nrequest_timeout_ms = {time}"));
        assert_eq!(
            Config::read(&path).unwrap().request_timeout,
            Parameters::default().request_timeout
        );
        fs::write(&path, with("3000")).unwrap();
        assert_eq!(Config::read(&path).unwrap().request_timeout, Duration::from_secs(3));
        assert_eq!(
            error_of(&path, &with("9")),
            "replica.toml:4:22: request_timeout_ms is 9; it must be from 100 to 60000"
        );
    }

    #[test]
    fn errors_name_the_place_and_the_remedy() {
        let (_dir, path, text) = set_up();
        let changed = |from: &str, to: &str| error_of(&path, &text.replace(from, to));
        assert_eq!(
            changed("\"sync\"", "\"disk\""),
            "replica.toml:6:14: unknown durability \"disk\"; \
             write \"sync\", \"async\" or \"memory\""
        );
        assert_eq!(
            changed("id = 1", "id = 9"),
            "replica.toml:3:6: the view has no member 9; its members: 0, 1, 2, 3"
        );
        assert_eq!(
            changed("127.0.0.1:7201", "7201"),
            "replica.toml:11:8: \"7201\" is not HOST:PORT; write for example \"0.0.0.0:7100\""
        );
        assert!(
            changed("id = 1", "id = 1\nviw = 2")
                .starts_with("replica.toml:4:1: unknown field `viw`")
        );
        assert!(changed("id = 1", "id = \"1\"").starts_with("replica.toml:3:6: invalid type"));
        assert!(changed("keys = ", "kees = ").starts_with("replica.toml:4:1: unknown field"));
        assert!(
            error_of(&path, &format!("{text}[tls]\n"))
                .starts_with("replica.toml:12:1: [tls] is not supported yet")
        );
    }

    #[test]
    fn keys_of_another_replica_are_refused() {
        let (dir, path, text) = set_up();
        let error = error_of(&path, &text.replace("keys.toml", "../replica-2/keys.toml"));
        assert!(error.starts_with("replica.toml:4:8: these are not the keys of member 1"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let keys = dir.path().join("replica-1/keys.toml");
            assert_eq!(fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o600);
            fs::set_permissions(&keys, fs::Permissions::from_mode(0o644)).unwrap();
            let error = error_of(&path, &text);
            assert!(error.contains("can be read by others (mode 644); run: chmod 600"), "{error}");
        }
    }

    #[test]
    fn a_bad_view_is_named_with_its_own_place() {
        let (dir, path, _) = set_up();
        let view = dir.path().join("view.json");
        let json = fs::read_to_string(&view).unwrap();
        fs::write(&view, json.replacen("\"f\": 1", "\"f\": 2", 1)).unwrap();
        let error = Config::read(&path).unwrap_err();
        assert!(error.file.ends_with("view.json"));
        assert_eq!(
            error.message,
            "4 replicas cannot tolerate 2 faulty ones: at least 7 are needed"
        );
        fs::write(&view, json.replacen("\"f\": 1", "\"f\": x", 1)).unwrap();
        assert_eq!(Config::read(&path).unwrap_err().at, Some((4, 8)));
    }

    #[test]
    fn init_does_not_overwrite() {
        let (dir, _, _) = set_up();
        let before = fs::read_to_string(dir.path().join("view.json")).unwrap();
        let places = places(&["127.0.0.1".to_owned()], 4, 7100).unwrap();
        let setup = Setup { f: 1, mac: MacAlgorithm::HmacSha256, service: "kv".to_owned(), places };
        let error = init(dir.path(), &setup).unwrap_err().to_string();
        assert!(error.contains("its keys are not overwritten"), "{error}");
        assert_eq!(fs::read_to_string(dir.path().join("view.json")).unwrap(), before);
    }
}
