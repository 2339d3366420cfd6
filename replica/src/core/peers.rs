//! The streams to and from the other replicas.
//!
//! The member with the lower position dials, and dials again after a jittered pause. A stream
//! that was accepted replaces an earlier one of the same member: the other end would not have
//! dialled if the old one still served it.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mio::net::{TcpListener, TcpStream};
use mio::{Registry, Token};
use tracing::{debug, info, warn};
use webbft_protocol::auth::{FromPeer, PeerLink, Verified};
use webbft_protocol::membership::View;
use webbft_protocol::time::{Instant, Now};
use webbft_protocol::wire::limits::MAX_PEER_FRAME;

use super::{READ_BYTES, ToCore, ToCoreSender, Tokens};
use crate::tls::PeerTls;
use crate::transport::{OutBuffer, ReadOutcome, Transport};

/// Connect and TLS handshake together.
const HANDSHAKE: Duration = Duration::from_secs(10);
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A peer that lets more than this wait is disconnected: once it is back it is caught up.
const MAX_WAITING: usize = 32 << 20;

/// What became of a stream.
#[derive(Debug)]
pub(super) enum PeerEvent {
    /// Authenticated; replaces any earlier stream of that member.
    Up(usize),
    /// A message.
    Message(Verified<FromPeer>),
    /// Gone.
    Down(usize),
}

/// One TCP stream, on its way to be a member's or already one.
#[derive(Debug)]
struct Stream {
    transport: Transport,
    address: SocketAddr,
    /// The member: known from the beginning where this replica dialled, else when the handshake
    /// is done.
    peer: Option<usize>,
    dialled: bool,
    /// While this is set the stream is not usable.
    handshake_until: Option<Instant>,
    readable: bool,
    read_closed: bool,
    inbox: Vec<u8>,
    out: OutBuffer,
}

/// Dialling one member.
#[derive(Debug)]
enum Dial {
    /// The other end dials.
    Theirs,
    /// A stream exists or its address is being looked up.
    Busy,
    At(Instant),
}

/// All streams between this replica and its peers.
#[derive(Debug)]
pub(super) struct Peers {
    view: Arc<View>,
    tls: PeerTls,
    listener: TcpListener,
    listening: bool,
    streams: BTreeMap<usize, Stream>,
    /// The usable stream of each member.
    current: Vec<Option<usize>>,
    dials: Vec<Dial>,
    failures: Vec<u32>,
    lookups: ToCoreSender,
}

impl Peers {
    pub(super) fn new(
        view: Arc<View>,
        me: usize,
        tls: PeerTls,
        listener: TcpListener,
        lookups: ToCoreSender,
    ) -> Self {
        let n = view.n();
        let dials = (0..n)
            .map(|peer| if peer > me { Dial::At(Instant::ZERO) } else { Dial::Theirs })
            .collect();
        Self {
            view,
            tls,
            listener,
            listening: true,
            streams: BTreeMap::new(),
            current: vec![None; n],
            dials,
            failures: vec![0; n],
            lookups,
        }
    }

    /// Which members have a usable stream.
    pub(super) fn connected(&self) -> Vec<bool> {
        self.current.iter().map(Option::is_some).collect()
    }

    pub(super) fn owns(&self, token: usize) -> bool {
        self.streams.contains_key(&token)
    }

    /// Notes what the poll found out about a stream.
    pub(super) fn ready(&mut self, token: usize, event: &mio::event::Event) {
        if let Some(stream) = self.streams.get_mut(&token) {
            stream.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
            stream.read_closed |= event.is_read_closed() || event.is_error();
        }
    }

    pub(super) fn listener_ready(&mut self) {
        self.listening = true;
    }

    /// When to call [`Peers::drive`] again though nothing is ready.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let dials = self.dials.iter().filter_map(|dial| match dial {
            Dial::At(at) => Some(*at),
            Dial::Theirs | Dial::Busy => None,
        });
        let handshakes = self.streams.values().filter_map(|stream| stream.handshake_until);
        dials.chain(handshakes).min()
    }

    /// Is there a stream that can be read at once?
    pub(super) fn any_readable(&self) -> bool {
        self.streams.values().any(|stream| stream.readable)
    }

    /// Accepts, dials, reads every ready stream once, and drops what has failed.
    pub(super) fn drive(
        &mut self,
        now: Now,
        registry: &Registry,
        tokens: &mut Tokens,
        scratch: &mut [u8],
        events: &mut Vec<PeerEvent>,
    ) {
        self.accept(now, registry, tokens);
        for peer in 0..self.dials.len() {
            if matches!(self.dials[peer], Dial::At(at) if at <= now.instant) {
                self.look_up(now, registry, tokens, peer);
            }
        }
        let ids: Vec<usize> = self
            .streams
            .iter()
            .filter(|(_, stream)| {
                stream.readable || stream.handshake_until.is_some_and(|at| at <= now.instant)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            if let Err(error) = self.read(now, registry, id, scratch, events) {
                self.drop_stream(now, registry, id, &error, events);
            }
        }
    }

    fn accept(&mut self, now: Now, registry: &Registry, tokens: &mut Tokens) {
        while self.listening {
            match self.listener.accept() {
                Ok((socket, address)) => {
                    // Enough for every member to be between two streams; a stranger that opens
                    // more waits for its own handshakes to time out.
                    let half_open = self.streams.values().filter(|s| s.peer.is_none()).count();
                    if half_open >= 2 * self.view.n() + 8 {
                        debug!(%address, "too many unfinished peer handshakes; closed");
                        continue;
                    }
                    match self.tls.accept() {
                        Ok(tls) => {
                            let transport = Transport::tls(socket, tls);
                            self.add(now, registry, tokens, transport, address, None);
                        }
                        Err(error) => warn!(%address, %error, "cannot begin a TLS handshake"),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.listening = false,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    // Out of file descriptors, most likely; the next connection tries again.
                    warn!(%error, "cannot accept a peer's connection");
                    self.listening = false;
                }
            }
        }
    }

    fn look_up(&mut self, now: Now, registry: &Registry, tokens: &mut Tokens, peer: usize) {
        self.dials[peer] = Dial::Busy;
        let address = self.view.members[peer].peer_address.clone();
        if let Ok(address) = address.parse() {
            self.dial(now, registry, tokens, peer, address);
            return;
        }
        // A name: asking for its address may block for seconds, so not here.
        let lookups = self.lookups.clone();
        let spawned = std::thread::Builder::new().name("lookup".to_owned()).spawn(move || {
            let found = address.to_socket_addrs().ok().and_then(|mut found| found.next());
            lookups.send(ToCore::Resolved { peer, address: found });
        });
        if spawned.is_err() {
            self.again_later(now, peer);
        }
    }

    /// The address of a member was looked up.
    pub(super) fn resolved(
        &mut self,
        now: Now,
        registry: &Registry,
        tokens: &mut Tokens,
        peer: usize,
        address: Option<SocketAddr>,
    ) {
        match address {
            Some(address) => self.dial(now, registry, tokens, peer, address),
            None => {
                let address = &self.view.members[peer].peer_address;
                debug!(peer = %self.view.members[peer].id, address, "the address has no host");
                self.again_later(now, peer);
            }
        }
    }

    fn dial(
        &mut self,
        now: Now,
        registry: &Registry,
        tokens: &mut Tokens,
        peer: usize,
        address: SocketAddr,
    ) {
        let stream = TcpStream::connect(address)
            .and_then(|socket| Ok((socket, self.tls.dial(peer).map_err(io::Error::other)?)));
        match stream {
            Ok((socket, tls)) => {
                let transport = Transport::tls(socket, tls);
                self.add(now, registry, tokens, transport, address, Some(peer));
            }
            Err(error) => {
                debug!(peer = %self.view.members[peer].id, %address, %error, "cannot connect");
                self.again_later(now, peer);
            }
        }
    }

    fn add(
        &mut self,
        now: Now,
        registry: &Registry,
        tokens: &mut Tokens,
        mut transport: Transport,
        address: SocketAddr,
        peer: Option<usize>,
    ) {
        let id = tokens.next();
        // A turn writes once: there is nothing to wait for.
        transport.set_nodelay();
        if let Err(error) = transport.register(registry, Token(id)) {
            warn!(%address, %error, "cannot watch a peer's socket");
            if let Some(peer) = peer {
                self.again_later(now, peer);
            }
            return;
        }
        let stream = Stream {
            transport,
            address,
            peer,
            dialled: peer.is_some(),
            handshake_until: Some(now.instant + HANDSHAKE),
            readable: false,
            read_closed: false,
            inbox: Vec::new(),
            out: OutBuffer::default(),
        };
        self.streams.insert(id, stream);
    }

    fn read(
        &mut self,
        now: Now,
        registry: &Registry,
        id: usize,
        scratch: &mut [u8],
        events: &mut Vec<PeerEvent>,
    ) -> io::Result<()> {
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        if stream.handshake_until.is_some_and(|at| at <= now.instant) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no handshake in time"));
        }
        if !stream.readable {
            return Ok(());
        }
        let outcome = match stream.transport.read(scratch, &mut stream.inbox) {
            // A connect that is still under way.
            Err(error) if error.kind() == io::ErrorKind::NotConnected && !stream.read_closed => {
                stream.readable = false;
                return Ok(());
            }
            outcome => outcome?,
        };
        stream.readable = outcome == ReadOutcome::More || stream.read_closed;
        if stream.handshake_until.is_some() && !stream.transport.is_handshaking() {
            self.established(registry, id, events)?;
        }
        self.open_frames(id, events)?;
        if outcome == ReadOutcome::Closed {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the other end"));
        }
        Ok(())
    }

    fn established(
        &mut self,
        registry: &Registry,
        id: usize,
        events: &mut Vec<PeerEvent>,
    ) -> io::Result<()> {
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        stream.handshake_until = None;
        if stream.peer.is_none() {
            let tls = stream.transport.connection();
            stream.peer = tls.and_then(|tls| self.tls.dialled_by(tls));
        }
        let peer = stream.peer.ok_or_else(|| {
            io::Error::new(io::ErrorKind::PermissionDenied, "not a key of the view")
        })?;
        let (address, dialled) = (stream.address, stream.dialled);
        let old = self.current[peer].replace(id).and_then(|old| self.streams.remove(&old));
        if let Some(mut old) = old {
            old.transport.deregister(registry);
            events.push(PeerEvent::Down(peer));
        }
        info!(peer = %self.view.members[peer].id, %address, dialled, "connected to replica");
        events.push(PeerEvent::Up(peer));
        Ok(())
    }

    fn open_frames(&mut self, id: usize, events: &mut Vec<PeerEvent>) -> io::Result<()> {
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        let Some(peer) = stream.peer.filter(|_| stream.handshake_until.is_none()) else {
            return Ok(());
        };
        let link = PeerLink::authenticated(&self.view, peer);
        let mut taken = 0;
        while let Some(frame) = next_frame(&stream.inbox[taken..])? {
            taken += 4 + frame.len();
            let message = link
                .open(frame)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            events.push(PeerEvent::Message(message));
        }
        if taken > 0 {
            // Only now: a peer that refuses our key does so after our end of the handshake.
            self.failures[peer] = 0;
        }
        stream.inbox.drain(..taken);
        if stream.inbox.is_empty() {
            stream.inbox.shrink_to(READ_BYTES);
        }
        Ok(())
    }

    /// Appends a frame to a member's stream, if it has one.
    pub(super) fn send(&mut self, peer: usize, frame: &Bytes) {
        let Some(stream) =
            self.current.get(peer).copied().flatten().and_then(|id| self.streams.get_mut(&id))
        else {
            return;
        };
        let len = u32::try_from(frame.len()).expect("a frame is at most 16 MiB long");
        stream.out.push(&len.to_le_bytes());
        stream.out.push(frame);
    }

    /// Writes to each stream what its socket takes.
    pub(super) fn flush(&mut self, now: Now, registry: &Registry, events: &mut Vec<PeerEvent>) {
        let ids: Vec<usize> = self
            .streams
            .iter()
            .filter(|(_, stream)| !stream.out.is_empty() || stream.transport.wants_write())
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            let result = match stream.transport.write(&mut stream.out) {
                Ok(_) if stream.out.len() > MAX_WAITING => Err(io::Error::other(format!(
                    "{} bytes wait for it, too many",
                    stream.out.len()
                ))),
                result => result.map(|_| ()),
            };
            if let Err(error) = result {
                self.drop_stream(now, registry, id, &error, events);
            }
        }
    }

    fn drop_stream(
        &mut self,
        now: Now,
        registry: &Registry,
        id: usize,
        error: &io::Error,
        events: &mut Vec<PeerEvent>,
    ) {
        let Some(mut stream) = self.streams.remove(&id) else { return };
        stream.transport.deregister(registry);
        stream.transport.finish();
        let address = stream.address;
        let Some(peer) = stream.peer else {
            // Strangers come and go.
            debug!(%address, %error, "a connection to the peer port came to nothing");
            return;
        };
        let id_of_peer = self.view.members[peer].id;
        if self.current[peer] == Some(id) {
            self.current[peer] = None;
            info!(peer = %id_of_peer, %address, %error, "lost the connection to replica");
            events.push(PeerEvent::Down(peer));
        } else if error.kind() == io::ErrorKind::InvalidData {
            warn!(peer = %id_of_peer, %address, %error, "the handshake with replica failed");
        } else {
            debug!(peer = %id_of_peer, %address, %error, "no connection to replica");
        }
        if stream.dialled {
            self.again_later(now, peer);
        }
    }

    /// Half to all of a pause that doubles from failure to failure.
    fn again_later(&mut self, now: Now, peer: usize) {
        let failures = self.failures[peer];
        self.failures[peer] = failures.saturating_add(1);
        let pause = (BACKOFF_MIN * 2u32.pow(failures.min(10))).min(BACKOFF_MAX);
        let mut random = [0];
        if let Err(error) = getrandom::fill(&mut random) {
            debug!(%error, "no jitter without randomness");
        }
        let pause = pause / 2 + pause / 2 * u32::from(random[0]) / 255;
        self.dials[peer] = Dial::At(now.instant + pause);
    }

    /// Says goodbye on every stream.
    pub(super) fn finish(&mut self) {
        for stream in self.streams.values_mut() {
            drop(stream.transport.write(&mut stream.out));
            stream.transport.finish();
        }
    }
}

/// The first complete frame of `inbox`.
fn next_frame(inbox: &[u8]) -> io::Result<Option<&[u8]>> {
    let Some(len) = inbox.first_chunk::<4>() else { return Ok(None) };
    let len = u32::from_le_bytes(*len) as usize;
    if len > MAX_PEER_FRAME {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a frame of {len} bytes, at most {MAX_PEER_FRAME} are allowed"),
        ));
    }
    Ok(inbox.get(4..4 + len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_delimited_and_bounded() {
        assert_eq!(next_frame(&[3, 0, 0]).unwrap(), None);
        assert_eq!(next_frame(&[3, 0, 0, 0, 7, 8]).unwrap(), None);
        assert_eq!(next_frame(&[3, 0, 0, 0, 7, 8, 9, 1]).unwrap(), Some(&[7, 8, 9][..]));
        let error = next_frame(&[1, 0, 0, 1]).unwrap_err();
        assert_eq!(error.to_string(), "a frame of 16777217 bytes, at most 16777216 are allowed");
    }
}
