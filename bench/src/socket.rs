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

/// A stream that is not read again after a short read until it is ready once more: one system
/// call a turn instead of two.
#[derive(Debug)]
struct Ready {
    stream: TcpStream,
    readable: bool,
}

impl Read for Ready {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if !self.readable {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let result = self.stream.read(into);
        // At the end of the stream it stays readable.
        self.readable = match &result {
            Ok(count) => *count == into.len() || *count == 0,
            Err(error) => error.kind() == io::ErrorKind::Interrupted,
        };
        result
    }
}

impl Write for Ready {
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
    socket: WebSocket<Ready>,
    unsent: bool,
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(16 << 10)
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
        let stream = Ready { stream: TcpStream::from_std(stream), readable: true };
        let socket = WebSocket::from_raw_socket(stream, role, Some(config()));
        Ok(Self { socket, unsent: false })
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut self.socket.get_mut().stream, token, interest)
    }

    /// The poll says that there is something to read.
    pub(crate) fn readable(&mut self) {
        self.socket.get_mut().readable = true;
    }

    /// The next binary message that has arrived.
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
