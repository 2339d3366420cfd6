//! The links to clients, on WebSockets and on HTTP: the Noise handshake, MACs, backpressure.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mio::{Registry, Token};
use tracing::{debug, info};
use webbft_protocol::auth::{NoiseKeypair, ReplicaLink, ServerHandshake, Verified};
use webbft_protocol::membership::{ClientId, View};
use webbft_protocol::replica::LinkId;
use webbft_protocol::time::{Instant, Now};
use webbft_protocol::wire::{ClientFrame, ReplicaFrame, Welcome};

use super::Tokens;
use crate::admission::Permit;
use crate::link::{FramingError, Goodbye, Link};
use crate::status::ClientLinks;
use crate::transport::ReadOutcome;

/// A link on which nothing arrived for this long does not exist any more.
const DEAD_AFTER: Duration = Duration::from_secs(75);
/// How long a link that is being closed has for its last bytes.
const LINGER: Duration = Duration::from_secs(2);
/// How often links are checked for the above.
const SWEEP: Duration = Duration::from_secs(1);
/// While more than this waits for a client, nothing is read from it.
const PAUSE_ABOVE: usize = 1 << 20;
/// A client that lets more than this wait is cut off.
const MAX_WAITING: usize = 8 << 20;

/// What became of a link.
#[derive(Debug)]
pub(super) enum ClientEvent {
    Connected(LinkId, ClientId),
    Frame(LinkId, Verified<ClientFrame>),
    Disconnected(LinkId),
}

/// A link that the HTTP thread has opened for a client.
#[derive(Debug)]
pub(crate) struct Newcomer {
    pub(crate) link: Link,
    pub(crate) address: SocketAddr,
    pub(crate) permit: Arc<Permit>,
}

#[derive(Debug)]
enum Stage {
    /// No ClientHello yet.
    Hello,
    Established(ReplicaLink),
    /// Only the last bytes are still to go out; whatever arrives is thrown away.
    Closing {
        until: Instant,
    },
}

#[derive(Debug)]
struct Client {
    link: Link,
    stage: Stage,
    address: SocketAddr,
    since: Instant,
    heard: Instant,
    /// When it last got a sign of life.
    pinged: Instant,
    /// Is there something to read? Then it stands in [`Clients::readable`].
    readable: bool,
    read_closed: bool,
    /// Is there something to write? Then it stands in [`Clients::unsent`].
    unsent: bool,
    /// Gives the place back when the link is gone.
    _permit: Arc<Permit>,
}

/// Why a link ends.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Framing(#[from] FramingError),
    #[error("{0}")]
    Hello(#[from] webbft_protocol::auth::LinkError),
    #[error(transparent)]
    Verify(#[from] webbft_protocol::auth::VerifyError),
    #[error("closed by the other end")]
    Closed,
}

/// All links to clients.
#[derive(Debug)]
pub(super) struct Clients {
    view: Arc<View>,
    keypair: NoiseKeypair,
    /// From the upgrade to a valid ClientHello.
    handshake_timeout: Duration,
    links: BTreeMap<usize, Client>,
    /// How many of them are on HTTP.
    http: usize,
    /// Links with readiness that was not used up, each once; some may be gone.
    readable: Vec<usize>,
    /// Links with bytes to be written, each once; some may be gone.
    unsent: Vec<usize>,
    next_sweep: Instant,
}

impl Clients {
    pub(super) fn new(view: Arc<View>, keypair: NoiseKeypair, handshake_timeout: Duration) -> Self {
        Self {
            view,
            keypair,
            handshake_timeout,
            links: BTreeMap::new(),
            http: 0,
            readable: Vec::new(),
            unsent: Vec::new(),
            next_sweep: Instant::ZERO,
        }
    }

    /// Links, established or not.
    pub(super) fn counts(&self) -> ClientLinks {
        ClientLinks { web_socket: self.links.len() - self.http, http: self.http }
    }

    /// Takes over a link that the HTTP thread has opened.
    pub(super) fn add(
        &mut self,
        now: Now,
        registry: &Registry,
        tokens: &mut Tokens,
        newcomer: Newcomer,
    ) {
        let id = tokens.next();
        let Newcomer { mut link, address, permit } = newcomer;
        if let Err(error) = link.register(registry, Token(id)) {
            debug!(%address, %error, "cannot watch a client's socket");
            return;
        }
        let unsent = link.out_len() > 0;
        if unsent {
            self.unsent.push(id);
        }
        let client = Client {
            link,
            stage: Stage::Hello,
            address,
            since: now.instant,
            heard: now.instant,
            pinged: now.instant,
            // Whatever arrived before the registration is seen by reading.
            readable: true,
            read_closed: false,
            unsent,
            _permit: permit,
        };
        self.http += usize::from(client.link.is_http());
        self.links.insert(id, client);
        self.readable.push(id);
    }

    /// Notes what the poll found out about a link.
    pub(super) fn ready(&mut self, token: usize, event: &mio::event::Event) {
        let Some(client) = self.links.get_mut(&token) else { return };
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            client.read_closed |= event.is_read_closed() || event.is_error();
            note(&mut client.readable, &mut self.readable, token);
        }
        if event.is_writable() && client.link.out_len() > 0 {
            note(&mut client.unsent, &mut self.unsent, token);
        }
    }

    /// Notes that there is something to be done on an HTTP link.
    pub(super) fn link_ready(&mut self, token: usize) {
        let Some(client) = self.links.get_mut(&token) else { return };
        client.link.acknowledge();
        note(&mut client.readable, &mut self.readable, token);
        if client.link.out_len() > 0 {
            note(&mut client.unsent, &mut self.unsent, token);
        }
    }

    /// Is there a link that can and may be read at once?
    pub(super) fn any_readable(&self, accepts: impl Fn(LinkId) -> bool) -> bool {
        self.readable
            .iter()
            .any(|id| self.links.get(id).is_some_and(|client| client.may_read(*id, &accepts)))
    }

    /// When to call [`Clients::sweep`].
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        (!self.links.is_empty()).then_some(self.next_sweep)
    }

    /// Reads every ready link once, unless it is to wait.
    pub(super) fn read(
        &mut self,
        now: Now,
        registry: &Registry,
        scratch: &mut [u8],
        welcome: impl Fn() -> Welcome,
        accepts: impl Fn(LinkId) -> bool,
        events: &mut Vec<ClientEvent>,
    ) {
        let mut ready = std::mem::take(&mut self.readable);
        ready.retain(|&id| {
            let Some(client) = self.links.get_mut(&id) else { return false };
            if !client.may_read(id, &accepts) {
                return true;
            }
            let link = LinkId(id as u64);
            let replica = ServerHandshake { view: &self.view, keypair: &self.keypair };
            let result = client.read(now, link, replica, &welcome, scratch, events);
            let readable = client.readable;
            if client.link.out_len() > 0 {
                note(&mut client.unsent, &mut self.unsent, id);
            }
            if let Err(fault) = result {
                self.fail(now, registry, id, &fault, events);
            }
            readable
        });
        // Reading makes no other link readable.
        self.readable = ready;
    }

    /// Seals a frame and appends it to its link's bytes.
    pub(super) fn send(&mut self, link: LinkId, frame: &ReplicaFrame) {
        let Ok(id) = usize::try_from(link.0) else { return };
        let Some(client) = self.links.get_mut(&id) else { return };
        if let Stage::Established(replica_link) = &mut client.stage {
            client.link.send(replica_link.seal(frame));
            note(&mut client.unsent, &mut self.unsent, id);
        }
    }

    /// Writes to each link what its socket takes.
    pub(super) fn flush(&mut self, registry: &Registry, events: &mut Vec<ClientEvent>) {
        for id in std::mem::take(&mut self.unsent) {
            let Some(client) = self.links.get_mut(&id) else { continue };
            client.unsent = false;
            let result = match client.link.write() {
                Ok(_) if client.link.out_len() > MAX_WAITING => Err(io::Error::other(format!(
                    "{} bytes wait for it, too many",
                    client.link.out_len()
                ))),
                Ok(true) if matches!(client.stage, Stage::Closing { .. }) => {
                    // The other end reads the last bytes and then the end; closing at once with
                    // unread bytes would make TCP throw them away.
                    client.link.finish();
                    Ok(())
                }
                result => result.map(|_| ()),
            };
            if let Err(error) = result {
                self.remove(registry, id, &error, events);
            }
        }
    }

    /// Drops what is half open, silent or has finished closing.
    pub(super) fn sweep(&mut self, now: Now, registry: &Registry, events: &mut Vec<ClientEvent>) {
        if now.instant < self.next_sweep {
            return;
        }
        self.next_sweep = now.instant + SWEEP;
        let mut gone: Vec<(usize, &str)> = Vec::new();
        for (id, client) in &mut self.links {
            match client.stage {
                Stage::Closing { until } if until <= now.instant => {
                    gone.push((*id, "not closed by the other end in time"));
                }
                Stage::Hello if client.since + self.handshake_timeout <= now.instant => {
                    gone.push((*id, "no handshake in time"));
                }
                Stage::Established(_) if client.heard + DEAD_AFTER <= now.instant => {
                    gone.push((*id, "silent for too long"));
                }
                Stage::Established(_)
                    if client.link.wants_ping(
                        now.instant.since(client.heard),
                        now.instant.since(client.pinged),
                    ) =>
                {
                    client.pinged = now.instant;
                    client.link.ping();
                    note(&mut client.unsent, &mut self.unsent, *id);
                }
                _ => {}
            }
        }
        for (id, reason) in gone {
            self.remove(registry, id, &reason, events);
        }
    }

    /// Closes the link of a client that misbehaved, unless it is being closed already.
    pub(super) fn close(&mut self, now: Now, link: LinkId, fault: &dyn std::fmt::Display) {
        let Ok(id) = usize::try_from(link.0) else { return };
        let Some(client) = self.links.get_mut(&id) else { return };
        if matches!(client.stage, Stage::Established(_)) {
            info!(link = id, address = %client.address, %fault, "closing a client link");
            client.close(now, Goodbye::Policy);
            note(&mut client.unsent, &mut self.unsent, id);
        }
    }

    /// Begins to close every link, telling the clients that the replica goes away.
    pub(super) fn close_all(&mut self, now: Now) {
        for (id, client) in &mut self.links {
            client.close(now, Goodbye::Away);
            note(&mut client.unsent, &mut self.unsent, *id);
        }
    }

    /// Has every link got its last bytes?
    pub(super) fn all_sent(&self) -> bool {
        self.links.values().all(|client| client.link.out_len() == 0)
    }

    /// After a fault: the refusal and the close frame still go out, where they can.
    fn fail(
        &mut self,
        now: Now,
        registry: &Registry,
        id: usize,
        fault: &Fault,
        events: &mut Vec<ClientEvent>,
    ) {
        if matches!(fault, Fault::Io(_) | Fault::Closed) {
            self.remove(registry, id, fault, events);
            return;
        }
        let Some(client) = self.links.get_mut(&id) else { return };
        let address = client.address;
        let established = matches!(client.stage, Stage::Established(_));
        if established {
            if matches!(fault, Fault::Framing(FramingError::Closed)) {
                debug!(link = id, %address, "a client leaves");
            } else {
                info!(link = id, %address, %fault, "closing a client link");
            }
            events.push(ClientEvent::Disconnected(LinkId(id as u64)));
        } else {
            debug!(link = id, %address, %fault, "refusing a client link");
        }
        client.close(now, Goodbye::Policy);
        note(&mut client.unsent, &mut self.unsent, id);
    }

    fn remove(
        &mut self,
        registry: &Registry,
        id: usize,
        reason: &dyn std::fmt::Display,
        events: &mut Vec<ClientEvent>,
    ) {
        let Some(mut client) = self.links.remove(&id) else { return };
        self.http -= usize::from(client.link.is_http());
        client.link.cut(registry);
        debug!(link = id, address = %client.address, %reason, "client link gone");
        if matches!(client.stage, Stage::Established(_)) {
            events.push(ClientEvent::Disconnected(LinkId(id as u64)));
        }
    }
}

/// Puts a link into a list, unless it stands there already.
fn note(noted: &mut bool, list: &mut Vec<usize>, id: usize) {
    if !*noted {
        *noted = true;
        list.push(id);
    }
}

impl Client {
    fn may_read(&self, id: usize, accepts: impl Fn(LinkId) -> bool) -> bool {
        match self.stage {
            Stage::Established(_) => {
                self.link.out_len() <= PAUSE_ABOVE && accepts(LinkId(id as u64))
            }
            Stage::Hello => self.link.out_len() <= PAUSE_ABOVE,
            Stage::Closing { .. } => true,
        }
    }

    fn read(
        &mut self,
        now: Now,
        link: LinkId,
        replica: ServerHandshake<'_>,
        welcome: impl Fn() -> Welcome,
        scratch: &mut [u8],
        events: &mut Vec<ClientEvent>,
    ) -> Result<(), Fault> {
        let outcome = self.link.read(scratch)?;
        self.readable = outcome == ReadOutcome::More || self.read_closed;
        if let Stage::Closing { .. } = self.stage {
            self.link.discard();
            return if outcome == ReadOutcome::Closed { Err(Fault::Closed) } else { Ok(()) };
        }
        while let Some(message) = self.link.next()? {
            self.heard = now.instant;
            match &mut self.stage {
                Stage::Hello => {
                    let client = self.greet(&message, replica, &welcome())?;
                    events.push(ClientEvent::Connected(link, client));
                }
                Stage::Established(replica_link) => {
                    events.push(ClientEvent::Frame(link, replica_link.open(&message)?));
                }
                Stage::Closing { .. } => break,
            }
        }
        if outcome == ReadOutcome::Closed { Err(Fault::Closed) } else { Ok(()) }
    }

    fn greet(
        &mut self,
        hello: &Bytes,
        replica: ServerHandshake<'_>,
        welcome: &Welcome,
    ) -> Result<ClientId, Fault> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(io::Error::other)?;
        match replica.accept(hello, welcome, seed) {
            Ok(accepted) => {
                self.link.send(accepted.reply);
                let client = accepted.link.client();
                self.stage = Stage::Established(accepted.link);
                Ok(client)
            }
            Err((error, refusal)) => {
                self.link.send(refusal);
                Err(error.into())
            }
        }
    }

    fn close(&mut self, now: Now, goodbye: Goodbye) {
        if !matches!(self.stage, Stage::Closing { .. }) {
            self.stage = Stage::Closing { until: now.instant + LINGER };
            self.link.close(goodbye);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    use axum::body::HttpBody as _;
    use webbft_protocol::time::UnixMicros;

    use super::*;
    use crate::admission::Admission;
    use crate::core::{ToCore, ToCoreSender};
    use crate::link::pipe::Pipes;
    use crate::testing::{noise_keypair, view};

    /// What waits for a client leaves as fast as it is read, though nothing is read from the client
    /// meanwhile.
    #[test]
    fn a_paused_link_is_still_written() {
        let (sender, told, poll) = ToCoreSender::for_test();
        let pipes = Pipes::new(sender);
        let (end, _connected, mut body) = pipes.open(Arc::default()).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let permit = Arc::new(Admission::new(1, 1).admit(address.ip()).unwrap());
        let mut clients =
            Clients::new(Arc::new(view(1, 0)), noise_keypair(0), Duration::from_secs(10));
        let now = Now { instant: Instant::ZERO, unix: UnixMicros(0) };
        let newcomer = Newcomer { link: Link::Http(end), address, permit };
        clients.add(now, poll.registry(), &mut Tokens(0), newcomer);
        assert_eq!(clients.counts(), ClientLinks { web_socket: 0, http: 1 });
        let id = *clients.links.keys().next().unwrap();
        clients.links.get_mut(&id).unwrap().link.send(vec![0; 2 * PAUSE_ABOVE]);
        assert!(!clients.any_readable(|_| true), "paused");

        let mut events = Vec::new();
        clients.flush(poll.registry(), &mut events);
        let mut context = Context::from_waker(Waker::noop());
        while clients.links[&id].link.out_len() > 0 {
            assert!(Pin::new(&mut body).poll_frame(&mut context).is_ready());
            let Ok(ToCore::LinkReady(ready)) = told.try_recv() else { panic!("the core waits") };
            clients.link_ready(ready);
            clients.flush(poll.registry(), &mut events);
        }
        assert!(matches!(Pin::new(&mut body).poll_frame(&mut context), Poll::Ready(Some(_))));
        assert!(clients.any_readable(|_| true), "read again");
        assert!(events.is_empty());
    }
}
