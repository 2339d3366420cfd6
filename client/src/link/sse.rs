//! Server-sent events, as far as replicas use them: an event's name, one line of data, comments.

use std::mem;

use bytes::{Buf as _, BytesMut};

/// An event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ServerEvent {
    /// Its name; empty for a plain message.
    pub(super) name: String,
    /// Its data.
    pub(super) data: String,
}

/// What is not a stream of events of ours.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum StreamError {
    #[error("a line of the event stream has more than {0} bytes")]
    TooLong(usize),
    #[error("the event stream is not UTF-8")]
    Utf8,
}

/// Takes the stream in pieces of any size.
#[derive(Debug)]
pub(super) struct Parser {
    max_line: usize,
    bytes: BytesMut,
    /// Bytes known to hold no end of line.
    searched: usize,
    event: ServerEvent,
}

impl Parser {
    pub(super) fn new(max_line: usize) -> Self {
        Self { max_line, bytes: BytesMut::new(), searched: 0, event: ServerEvent::default() }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next complete event.
    pub(super) fn next(&mut self) -> Result<Option<ServerEvent>, StreamError> {
        while let Some(line) = self.line()? {
            if line.is_empty() {
                let event = mem::take(&mut self.event);
                if event != ServerEvent::default() {
                    return Ok(Some(event));
                }
            } else if let Some(data) = field(&line, "data") {
                // A replica writes one such line for each event; of several the last counts.
                self.event.data = data.to_owned();
            } else if let Some(name) = field(&line, "event") {
                self.event.name = name.to_owned();
            }
            // Comments, and fields that we have no use for.
        }
        Ok(None)
    }

    fn line(&mut self) -> Result<Option<String>, StreamError> {
        let end = self.bytes[self.searched..].iter().position(|&byte| byte == b'\n');
        let len = end.map_or(self.bytes.len(), |end| self.searched + end);
        if len > self.max_line {
            return Err(StreamError::TooLong(self.max_line));
        }
        if end.is_none() {
            self.searched = len;
            return Ok(None);
        }
        self.searched = 0;
        let line = self.bytes.split_to(len);
        self.bytes.advance(1);
        let text = std::str::from_utf8(&line).map_err(|_| StreamError::Utf8)?;
        Ok(Some(text.strip_suffix('\r').unwrap_or(text).to_owned()))
    }
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let value = line.strip_prefix(name)?.strip_prefix(':')?;
    Some(value.strip_prefix(' ').unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str) -> ServerEvent {
        ServerEvent { name: name.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn events_come_whole_whatever_the_pieces() {
        let stream = ": hello\n\nevent: link\ndata: 00ff\n\ndata: AAAA\r\n\r\n: keep-alive\n\nid: 7\nretry\ndata:BBBB\n\ndata: C";
        for size in [1, 3, 1000] {
            let mut parser = Parser::new(20);
            let mut events = Vec::new();
            for piece in stream.as_bytes().chunks(size) {
                parser.feed(piece);
                while let Some(event) = parser.next().unwrap() {
                    events.push(event);
                }
            }
            assert_eq!(events, [event("link", "00ff"), event("", "AAAA"), event("", "BBBB")]);
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut parser = Parser::new(10);
        parser.feed(b"data: 1234\ndata: 1234");
        assert_eq!(parser.next(), Ok(None));
        parser.feed(b"5");
        assert_eq!(parser.next(), Err(StreamError::TooLong(10)));
        let mut parser = Parser::new(10);
        parser.feed(b"\xff\n");
        assert_eq!(parser.next(), Err(StreamError::Utf8));
    }
}
