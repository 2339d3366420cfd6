//! What the core lets other threads know: published a few times a second.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;
use webbft_protocol::membership::{ReplicaId, ServiceId, View, ViewNumber};
use webbft_protocol::replica::ReplicaStatus;

use crate::Durability;
use crate::byzantine::Misbehaviour;

/// The state of the core at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) status: ReplicaStatus,
    /// By position: is there an authenticated stream?
    pub(crate) peers: Vec<bool>,
    pub(crate) clients: ClientLinks,
}

/// Links to clients, by what carries them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClientLinks {
    pub(crate) web_socket: usize,
    pub(crate) http: usize,
}

impl ClientLinks {
    pub(crate) const fn all(self) -> usize {
        self.web_socket + self.http
    }
}

/// The place where the core puts snapshots and the HTTP thread finds them.
#[derive(Debug)]
pub(crate) struct Shared {
    view: Arc<View>,
    me: usize,
    service_name: String,
    durability: Durability,
    misbehaviour: Option<Misbehaviour>,
    started: Instant,
    running: AtomicBool,
    snapshot: Mutex<Option<Snapshot>>,
}

/// `/status.json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    pub(crate) replica: ReplicaId,
    pub(crate) service: ServiceId,
    pub(crate) service_name: String,
    pub(crate) durability: &'static str,
    pub(crate) view: ViewNumber,
    pub(crate) n: usize,
    pub(crate) f: usize,
    pub(crate) last_cid: u64,
    pub(crate) stable_cid: u64,
    /// While it fetches the state: what it has of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) transfer: Option<TransferStatus>,
    pub(crate) regency: u32,
    pub(crate) leader: ReplicaId,
    pub(crate) learner: bool,
    pub(crate) sessions: usize,
    pub(crate) pending: usize,
    pub(crate) clients: usize,
    pub(crate) client_links: ClientLinks,
    pub(crate) peers: Vec<PeerStatus>,
    pub(crate) uptime_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) byzantine: Option<&'static str>,
}

/// A state transfer in `/status.json`.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct TransferStatus {
    /// Chunks that it has.
    pub(crate) held: usize,
    /// Chunks in all; 0 while that is not known.
    pub(crate) chunks: usize,
}

/// One peer in `/status.json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PeerStatus {
    pub(crate) id: ReplicaId,
    pub(crate) connected: bool,
}

impl Shared {
    pub(crate) fn new(
        view: Arc<View>,
        me: usize,
        service_name: String,
        durability: Durability,
        misbehaviour: Option<Misbehaviour>,
    ) -> Arc<Self> {
        Arc::new(Self {
            view,
            me,
            service_name,
            durability,
            misbehaviour,
            started: Instant::now(),
            running: AtomicBool::new(true),
            snapshot: Mutex::new(None),
        })
    }

    pub(crate) fn publish(&self, snapshot: Snapshot) {
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
    }

    /// The core has ended, for whatever reason.
    pub(crate) fn ended(&self) {
        self.running.store(false, Ordering::Release);
    }

    /// Is the core at work?
    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    /// The latest status, once there is one.
    pub(crate) fn status(&self) -> Option<Status> {
        let snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        let Snapshot { status, peers, clients } = snapshot.as_ref()?;
        let peers = self.view.members.iter().zip(peers).enumerate();
        Some(Status {
            replica: self.view.members[self.me].id,
            service: self.view.service,
            service_name: self.service_name.clone(),
            durability: self.durability.name(),
            view: self.view.number,
            n: self.view.n(),
            f: self.view.f,
            last_cid: status.last_cid.0,
            stable_cid: status.stable.0,
            transfer: status.transfer.map(|(held, chunks)| TransferStatus { held, chunks }),
            regency: status.regency.0,
            leader: status.leader,
            learner: status.learner,
            sessions: status.sessions,
            pending: status.pending,
            clients: clients.all(),
            client_links: *clients,
            peers: peers
                .filter(|(index, _)| *index != self.me)
                .map(|(_, (member, connected))| PeerStatus { id: member.id, connected: *connected })
                .collect(),
            uptime_seconds: self.started.elapsed().as_secs(),
            byzantine: self.misbehaviour.map(Misbehaviour::name),
        })
    }
}
