//! WebSocket framing without a socket: bytes in, messages out, and the other way round.

use std::io::{self, Read, Write};

use bytes::Bytes;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};
use webbft_protocol::wire::limits::MAX_CLIENT_FRAME;

use crate::transport::OutBuffer;

/// What tungstenite asks for at a time; larger frames get a buffer of their own size.
const READ_BUFFER: usize = 4 << 10;

/// Why a client's stream cannot go on: the peer misbehaved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FramingError {
    /// A close frame, and nothing wrong.
    #[error("closed by the other end")]
    Closed,
    /// Not WebSocket, or too large.
    #[error("WebSocket: {0}")]
    Protocol(#[from] tungstenite::Error),
    /// Everything here is binary.
    #[error("a text message where only binary ones are allowed")]
    Text,
}

/// The bytes on either side of tungstenite.
#[derive(Debug, Default)]
struct Pipe {
    inbox: Vec<u8>,
    taken: usize,
    out: OutBuffer,
}

impl Read for Pipe {
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

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The server's end of a WebSocket.
#[derive(Debug)]
pub(crate) struct Framing {
    socket: WebSocket<Pipe>,
}

impl Framing {
    /// A WebSocket whose upgrade is done.
    pub(crate) fn new() -> Self {
        let config = WebSocketConfig::default()
            // tungstenite zeroes what it reads into, at every read, also where nothing has come.
            .read_buffer_size(READ_BUFFER)
            // Straight into our own buffer, whose length we know.
            .write_buffer_size(0)
            .max_message_size(Some(MAX_CLIENT_FRAME))
            .max_frame_size(Some(MAX_CLIENT_FRAME));
        let socket = WebSocket::from_raw_socket(Pipe::default(), Role::Server, Some(config));
        Self { socket }
    }

    /// Where arriving bytes are to be appended.
    pub(crate) fn inbox(&mut self) -> &mut Vec<u8> {
        &mut self.socket.get_mut().inbox
    }

    /// The next binary message, `None` where none is complete.
    ///
    /// # Errors
    /// Where the stream is not WebSocket, is closed by a close frame, or carries text.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, FramingError> {
        loop {
            match self.socket.read() {
                // tungstenite's is a piece of a larger buffer, which it would hold in memory for as
                // long as the request in it is kept for replicas that missed it.
                Ok(Message::Binary(bytes)) => return Ok(Some(Bytes::copy_from_slice(&bytes))),
                Ok(Message::Text(_)) => return Err(FramingError::Text),
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(None);
                }
                Err(Error::ConnectionClosed) => return Err(FramingError::Closed),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Appends a binary message to the outgoing bytes.
    pub(crate) fn send(&mut self, message: Vec<u8>) {
        // Fails only after a close frame, when nothing is to be sent any more.
        drop(self.socket.write(Message::Binary(message.into())));
    }

    /// Appends a ping, which every WebSocket client answers.
    pub(crate) fn ping(&mut self) {
        drop(self.socket.write(Message::Ping(Bytes::new())));
    }

    /// Appends a close frame; nothing can be sent after it.
    pub(crate) fn close(&mut self, frame: CloseFrame) {
        drop(self.socket.close(Some(frame)));
    }

    /// Bytes to be written to the socket.
    pub(crate) fn out(&mut self) -> &mut OutBuffer {
        &mut self.socket.get_mut().out
    }

    /// How many.
    pub(crate) fn out_len(&self) -> usize {
        self.socket.get_ref().out.len()
    }
}
