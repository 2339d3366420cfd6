//! Many clients on one thread: the `Endpoint` of the native and the web client, without their
//! drivers, so that the same few instructions move the bytes for the service and for its floor.

use std::collections::BTreeSet;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::time::{Duration, Instant as StdInstant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use mio::{Events, Poll, Token};
use webbft_protocol::auth::ClientIdentity;
use webbft_protocol::client::{
    CallId, ClientEvent, Endpoint, EndpointConfig, EndpointOptions, Phase, Transmit,
};
use webbft_protocol::membership::View;
use webbft_protocol::time::{Instant, Now, UnixMicros};

use crate::socket::Socket;

/// How long all clients together have to connect.
const CONNECT: Duration = Duration::from_secs(60);

/// What is read from one socket at a time.
const READ_BYTES: usize = 64 << 10;

struct Client {
    endpoint: Endpoint,
    sockets: Vec<Option<Socket>>,
}

/// What a client finished.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) client: usize,
    pub(crate) call: CallId,
    /// The error, in words.
    pub(crate) result: Result<(), String>,
}

/// A number of connected clients.
pub(crate) struct Swarm {
    clients: Vec<Client>,
    n: usize,
    poll: Poll,
    events: Events,
    scratch: Vec<u8>,
    origin: StdInstant,
    urls: Vec<(String, SocketAddr)>,
    /// Clients with something to drain, and sockets with something to write.
    touched: BTreeSet<usize>,
    unsent: BTreeSet<usize>,
    next_deadline_check: StdInstant,
}

fn random() -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("the operating system gives no random bytes")?;
    Ok(bytes)
}

/// Host and port of a `ws://` URL.
fn address(url: &str) -> anyhow::Result<SocketAddr> {
    let rest = url.strip_prefix("ws://").with_context(|| format!("{url}: not ws://"))?;
    let host = rest.split('/').next().unwrap_or(rest);
    let mut found = host.to_socket_addrs().with_context(|| format!("cannot look up {host}"))?;
    found.next().with_context(|| format!("{host} has no address"))
}

impl Swarm {
    /// Connects `count` clients, each with a key of its own, to all replicas.
    ///
    /// # Errors
    /// Where one of them does not get all its links in time.
    pub(crate) fn connect(view: &View, count: usize) -> anyhow::Result<Self> {
        let urls: anyhow::Result<Vec<_>> =
            view.members.iter().map(|m| Ok((m.url.clone(), address(&m.url)?))).collect();
        let mut swarm = Self {
            clients: Vec::with_capacity(count),
            n: view.n(),
            poll: Poll::new()?,
            events: Events::with_capacity(4096),
            scratch: vec![0; READ_BYTES],
            origin: StdInstant::now(),
            urls: urls?,
            touched: BTreeSet::new(),
            unsent: BTreeSet::new(),
            next_deadline_check: StdInstant::now(),
        };
        let options = EndpointOptions {
            call_timeout: Duration::from_secs(60),
            max_pending: 4096,
            ..EndpointOptions::default()
        };
        for index in 0..count {
            let config = EndpointConfig {
                view: view.clone(),
                identity: ClientIdentity::from_secret(random()?),
                seed: random()?,
                options: options.clone(),
            };
            let mut endpoint = Endpoint::new(config, swarm.now())?;
            endpoint.start(swarm.now());
            let sockets = (0..swarm.n).map(|_| None).collect();
            swarm.clients.push(Client { endpoint, sockets });
            swarm.touched.insert(index);
            // A few at a time, so that no backlog overflows.
            if index % 16 == 15 {
                swarm.turn(Some(Duration::ZERO), |_, _| Ok(()))?;
            }
        }
        let until = StdInstant::now() + CONNECT;
        while let Some(late) = swarm.clients.iter().position(|c| !c.is_ready()) {
            ensure!(StdInstant::now() < until, "client {late} is not connected to all replicas");
            swarm.turn(Some(Duration::from_millis(10)), |_, _| Ok(()))?;
        }
        Ok(swarm)
    }

    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    fn now(&self) -> Now {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            instant: Instant::from_micros(micros(self.origin.elapsed())),
            unix: UnixMicros(micros(unix)),
        }
    }

    /// Begins a call. Its bytes leave at the end of the turn.
    pub(crate) fn call(
        &mut self,
        client: usize,
        payload: Bytes,
        ordered: bool,
    ) -> anyhow::Result<CallId> {
        let now = self.now();
        let endpoint = &mut self.clients[client].endpoint;
        self.touched.insert(client);
        let call = if ordered {
            endpoint.invoke(now, payload, None)
        } else {
            endpoint.query(now, payload, None)
        };
        Ok(call?)
    }

    /// Waits, at most `timeout`, reads, hands out what is done, and writes.
    pub(crate) fn turn(
        &mut self,
        timeout: Option<Duration>,
        mut done: impl FnMut(&mut Self, Done) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.settle(&mut done)?;
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        let now = self.now();
        for event in &self.events {
            let (client, replica) = (event.token().0 / self.n, event.token().0 % self.n);
            let Client { endpoint, sockets } = &mut self.clients[client];
            let Some(socket) = &mut sockets[replica] else { continue };
            if event.is_writable() {
                self.unsent.insert(event.token().0);
            }
            if !event.is_readable() && !event.is_read_closed() && !event.is_error() {
                continue;
            }
            self.touched.insert(client);
            if receive(socket, endpoint, now, replica, &mut self.scratch).is_err() {
                sockets[replica] = None;
                endpoint.handle_closed(now, replica);
            }
        }
        if StdInstant::now() >= self.next_deadline_check {
            self.next_deadline_check = StdInstant::now() + Duration::from_millis(20);
            for (index, client) in self.clients.iter_mut().enumerate() {
                if client.endpoint.next_deadline().is_some_and(|at| at <= now.instant) {
                    client.endpoint.handle_deadline(now);
                    self.touched.insert(index);
                }
            }
        }
        self.settle(&mut done)
    }

    /// Drains all touched clients, and writes once to each socket.
    fn settle(
        &mut self,
        done: &mut impl FnMut(&mut Self, Done) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        while let Some(index) = self.touched.pop_first() {
            while let Some(event) = self.clients[index].endpoint.poll_event() {
                let (call, result) = match event {
                    ClientEvent::Completed { call, .. } => (call, Ok(())),
                    ClientEvent::Failed { call, error, .. } => (call, Err(error.to_string())),
                    _ => continue,
                };
                done(self, Done { client: index, call, result })?;
            }
            while let Some(transmit) = self.clients[index].endpoint.poll_transmit() {
                self.transmit(index, transmit)?;
            }
        }
        for token in std::mem::take(&mut self.unsent) {
            let (client, replica) = (token / self.n, token % self.n);
            let Some(socket) = &mut self.clients[client].sockets[replica] else { continue };
            if socket.flush().is_err() {
                self.clients[client].sockets[replica] = None;
                let now = self.now();
                self.clients[client].endpoint.handle_closed(now, replica);
                self.touched.insert(client);
            }
        }
        Ok(())
    }

    fn transmit(&mut self, index: usize, transmit: Transmit) -> anyhow::Result<()> {
        match transmit {
            Transmit::Open { replica } => {
                let (url, address) = &self.urls[replica];
                match Socket::connect(url, *address) {
                    Ok(mut socket) => {
                        let token = index * self.n + replica;
                        socket.register(self.poll.registry(), Token(token))?;
                        self.clients[index].sockets[replica] = Some(socket);
                        let now = self.now();
                        self.clients[index].endpoint.handle_opened(now, replica);
                    }
                    Err(error) => bail!("cannot connect: {error:#}"),
                }
            }
            Transmit::Send { replica, bytes } => {
                if let Some(socket) = &mut self.clients[index].sockets[replica] {
                    socket.send(bytes)?;
                    self.unsent.insert(index * self.n + replica);
                }
            }
            Transmit::Close { replica } => {
                if let Some(socket) = self.clients[index].sockets[replica].take() {
                    socket.close();
                }
            }
        }
        Ok(())
    }
}

/// Hands all that has arrived to the endpoint.
fn receive(
    socket: &mut Socket,
    endpoint: &mut Endpoint,
    now: Now,
    replica: usize,
    scratch: &mut [u8],
) -> anyhow::Result<()> {
    loop {
        let more = socket.read(scratch)?;
        while let Some(message) = socket.receive()? {
            endpoint.handle_message(now, replica, message);
        }
        if !more {
            return Ok(());
        }
    }
}

impl Client {
    fn is_ready(&self) -> bool {
        self.endpoint.status().phase == Phase::Ready
    }
}
