//! One WebSocket of a readiness loop, either end.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};

use bytes::Bytes;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};
use webbft_protocol::wire::limits::MAX_CLIENT_FRAME;

/// Bytes that may wait for the other end before the process gives up.
const MAX_WAITING: usize = 64 << 20;

/// What tungstenite zeroes and fills at a time.
const READ_BUFFER: usize = 4 << 10;

/// A stream whose bytes are fetched by [`Socket::read`], a whole buffer at a time, and not by
/// tungstenite, whose buffers are small.
#[derive(Debug)]
struct Fetched {
    stream: TcpStream,
    inbox: Vec<u8>,
    taken: usize,
}

impl Read for Fetched {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let rest = &self.inbox[self.taken..];
        if rest.is_empty() {
            self.inbox.clear();
            self.taken = 0;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        self.taken += count;
        Ok(count)
    }
}

impl Write for Fetched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A WebSocket whose handshake is done.
#[derive(Debug)]
pub(crate) struct Socket {
    socket: WebSocket<Fetched>,
    unsent: bool,
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        // One write a turn: see `flush`.
        .write_buffer_size(MAX_WAITING / 2)
        .max_write_buffer_size(MAX_WAITING)
        .max_message_size(Some(MAX_CLIENT_FRAME))
        .max_frame_size(Some(MAX_CLIENT_FRAME))
}

impl Socket {
    /// Connects to a WebSocket URL and waits for the handshake.
    pub(crate) fn connect(url: &str, address: SocketAddr) -> anyhow::Result<Self> {
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let (socket, _) = tungstenite::client::client(url, stream)
            .map_err(|error| anyhow::anyhow!("{url}: {error}"))?;
        Self::new(socket.get_ref().try_clone()?, Role::Client)
    }

    /// Takes an accepted stream and waits for the handshake.
    pub(crate) fn accept(stream: std::net::TcpStream) -> anyhow::Result<Self> {
        stream.set_nodelay(true)?;
        let socket = tungstenite::accept(stream)
            .map_err(|error| anyhow::anyhow!("not a WebSocket: {error}"))?;
        Self::new(socket.get_ref().try_clone()?, Role::Server)
    }

    fn new(stream: std::net::TcpStream, role: Role) -> anyhow::Result<Self> {
        stream.set_nonblocking(true)?;
        let stream = TcpStream::from_std(stream);
        let stream = Fetched { stream, inbox: Vec::new(), taken: 0 };
        let socket = WebSocket::from_raw_socket(stream, role, Some(config()));
        Ok(Self { socket, unsent: false })
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut self.socket.get_mut().stream, token, interest)
    }

    /// Reads once what has arrived, as the poll says. True where that filled `scratch`, so that
    /// there may be more: only then is it worth another system call.
    ///
    /// # Errors
    /// Where the other end has closed, or the connection is broken.
    pub(crate) fn read(&mut self, scratch: &mut [u8]) -> anyhow::Result<bool> {
        let Fetched { stream, inbox, .. } = self.socket.get_mut();
        match stream.read(scratch) {
            Ok(0) => anyhow::bail!("closed by the other end"),
            Ok(count) => {
                inbox.extend_from_slice(&scratch[..count]);
                Ok(count == scratch.len())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// The next binary message that was read.
    ///
    /// # Errors
    /// Where the other end has closed, or does not speak WebSocket.
    pub(crate) fn receive(&mut self) -> anyhow::Result<Option<Bytes>> {
        loop {
            match self.socket.read() {
                Ok(Message::Binary(bytes)) => return Ok(Some(bytes)),
                Ok(Message::Ping(_)) => self.unsent = true,
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Appends a binary message to what [`Socket::flush`] writes.
    pub(crate) fn send(&mut self, message: Bytes) -> anyhow::Result<()> {
        self.unsent = true;
        Ok(self.socket.write(Message::Binary(message))?)
    }

    /// Writes what the socket takes; the rest when it is writable again.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        if !self.unsent {
            return Ok(());
        }
        match self.socket.flush() {
            Ok(()) => self.unsent = false,
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    pub(crate) fn close(&self) {
        // One that is closed already is what is wanted.
        drop(self.socket.get_ref().stream.shutdown(Shutdown::Both));
    }
}
