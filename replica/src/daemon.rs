//! A running replica: the core thread and the HTTP thread.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::sync::watch;
use tracing::{error, info, warn};
use webbft_protocol::membership::Cid;
use webbft_protocol::replica::{
    Durability as Logging, Parameters, Recovered, StableSnapshot, Start, VotesMemory,
};
use webbft_protocol::wire::Manifest;

use crate::Recovery;
use crate::admission::Admission;
use crate::byzantine::Misbehaviour;
use crate::config::Config;
use crate::core::{CoreInbox, CoreSetup, ToCore, ToCoreSender};
use crate::http::{self, Site};
use crate::services::Services;
use crate::status::Shared;
use crate::storage::data_dir::{Memory, Place};
use crate::storage::{Contents, Identity, StorageError, Store, StoredSnapshot, Votes};

/// A replica at work on threads of its own. Dropping it leaves it running; see
/// [`stop`](Daemon::stop).
#[derive(Debug)]
pub struct Daemon {
    http_address: SocketAddr,
    peer_address: SocketAddr,
    core: ToCoreSender,
    core_thread: JoinHandle<anyhow::Result<()>>,
    stop_http: watch::Sender<bool>,
    http_thread: JoinHandle<anyhow::Result<()>>,
    ended: watch::Receiver<bool>,
}

impl Daemon {
    /// Starts a replica; it serves when this returns.
    ///
    /// # Errors
    /// Where the service is unknown, a port is taken, the storage is damaged or not this
    /// replica's, or the operating system refuses.
    pub fn start(
        config: Config,
        services: &Services,
        recovery: Recovery,
        misbehaviour: Option<Misbehaviour>,
    ) -> anyhow::Result<Self> {
        let run = services.get(&config.service).ok_or_else(|| {
            anyhow!(
                "there is no service {:?} in this program; it has: {}",
                config.service,
                services.list()
            )
        })?;
        let id = config.view.members[config.me].id;
        let http_listener = listen(&config.listen_http, "listen.http")?;
        let peer_listener = listen(&config.listen_peer, "listen.peer")?;
        let http_address = http_listener.local_addr()?;
        let peer_address = peer_listener.local_addr()?;
        http_listener.set_nonblocking(true)?;
        let place = Place {
            dir: &config.data_dir,
            config_dir: &config.config_dir,
            durability: config.durability,
            identity: Identity {
                service: config.view.service,
                view: config.view.number,
                replica: id,
            },
            alone: config.view.n() == 1,
        };
        let (memory, store) = place.begin(recovery)?;
        let logged = store.is_some();
        let start = match memory {
            Memory::Genesis => Start::Genesis,
            Memory::Lost => Start::Learner,
            Memory::Recovered(contents) => {
                Start::Recovered(Box::new(recovered(contents, &config)?))
            }
        };
        let learner = match &start {
            Start::Genesis => false,
            Start::Learner => true,
            Start::Recovered(recovered) => recovered.votes == VotesMemory::Doubtful,
        };
        if let Some(misbehaviour) = misbehaviour {
            warn!(
                replica = %id,
                "THIS REPLICA MISBEHAVES ON PURPOSE (--byzantine {}): for demonstrations only",
                misbehaviour.name()
            );
        }
        let shared = Shared::new(
            Arc::clone(&config.view),
            config.me,
            config.service.clone(),
            config.durability,
            misbehaviour,
        );
        let inbox = CoreInbox::new(peer_listener).context("cannot set up the event loop")?;
        let core = inbox.sender();
        let handshake_timeout = Duration::from_secs(config.limits.handshake_seconds);
        let (ready, is_ready) = sync_channel(1);
        let setup = CoreSetup {
            view: Arc::clone(&config.view),
            me: config.me,
            signing_key: config.keys.signing.clone(),
            keypair: config.keys.noise.clone(),
            start,
            store,
            durability: config.durability,
            parameters: Parameters {
                request_timeout: config.request_timeout,
                durability: if logged { Logging::Logged } else { Logging::Volatile },
                execution: config.checkpoints.limits(),
                ..Parameters::default()
            },
            misbehaviour,
            handshake_timeout,
            inbox,
            shared: Arc::clone(&shared),
            ready,
        };
        let (stop_http, http_stopped) = watch::channel(false);
        let (core_ended, ended) = watch::channel(false);
        let site = Site {
            view: Arc::clone(&config.view),
            shared: Arc::clone(&shared),
            core: core.clone(),
            header_timeout: handshake_timeout,
            static_dir: config.static_dir.clone(),
            admission: Admission::new(config.limits.max_links, config.limits.max_links_per_address),
        };
        let core_thread = spawn("core", move || {
            // Also where the core panics: then the process must not go on as if it served.
            let _ended = OnDrop(move || {
                shared.ended();
                core_ended.send_replace(true);
            });
            run(setup)
        })?;
        if is_ready.recv().is_err() {
            join(core_thread, "core")?;
            return Err(anyhow!("the core thread ended before it served"));
        }
        let http_thread = spawn("http", move || serve_http(http_listener, site, http_stopped))?;
        info!(
            replica = %id, service = config.service, http = %http_address, peer = %peer_address,
            durability = config.durability.name(), learner, "serving"
        );
        Ok(Self { http_address, peer_address, core, core_thread, stop_http, http_thread, ended })
    }

    /// Where pages and clients connect.
    #[must_use]
    pub const fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Where other replicas connect.
    #[must_use]
    pub const fn peer_address(&self) -> SocketAddr {
        self.peer_address
    }

    /// Waits until the replica ends by itself, which it does only when something has gone wrong.
    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        // An error means that the sender is gone, and with it the core.
        drop(ended.wait_for(|ended| *ended).await);
    }

    /// Stops cleanly: flushes what is to be sent, closes the links, ends the threads.
    ///
    /// # Errors
    /// Where the replica had failed before.
    pub fn stop(self) -> anyhow::Result<()> {
        self.core.send(ToCore::Stop);
        self.stop_http.send_replace(true);
        let core = join(self.core_thread, "core");
        let http = join(self.http_thread, "http");
        core.and(http)
    }
}

/// What is stored, for the protocol.
fn recovered(contents: Contents, config: &Config) -> anyhow::Result<Recovered> {
    let Contents { votes, snapshot, records } = contents;
    let votes = match votes {
        Votes::Complete => VotesMemory::Complete,
        Votes::Doubtful | Votes::Lost => VotesMemory::Doubtful,
    };
    let snapshot = snapshot.map(|stored| stable(stored, config)).transpose()?;
    let cid = snapshot.as_ref().map_or(Cid(0), StableSnapshot::cid);
    info!(records = records.len(), checkpoint = %cid, "read from disk");
    Ok(Recovered { snapshot: snapshot.map(Arc::new), records, votes })
}

/// A stored snapshot, every part of it verified.
fn stable(stored: StoredSnapshot, config: &Config) -> anyhow::Result<StableSnapshot> {
    let StoredSnapshot { certificate, manifest, chunks } = stored;
    let file = Store::path(&config.data_dir);
    let damaged = |what: &dyn std::fmt::Display| {
        let cid = certificate.checkpoint.cid;
        StorageError::damaged(&file, format!("the snapshot of {cid}: {what}"))
    };
    let manifest = Manifest::decode(&manifest).map_err(|error| damaged(&error))?;
    let stable = StableSnapshot::from_parts(&config.view, &certificate, manifest, chunks);
    Ok(stable.map_err(|error| damaged(&error))?)
}

fn listen(address: &str, field: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .with_context(|| format!("cannot listen on {address} ({field}); is the port taken?"))
}

fn spawn(
    name: &str,
    body: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<JoinHandle<anyhow::Result<()>>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .with_context(|| format!("cannot start the {name} thread"))
}

fn join(thread: JoinHandle<anyhow::Result<()>>, name: &str) -> anyhow::Result<()> {
    thread.join().unwrap_or_else(|_| Err(anyhow!("the {name} thread panicked")))
}

fn serve_http(
    listener: TcpListener,
    site: Site,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        http::serve(listener, site, stopped).await
    });
    if let Err(error) = &result {
        error!(%error, "the HTTP server ended");
    }
    Ok(result?)
}

/// Runs a closure when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        self.0();
    }
}
