//! The server-sent events of an HTTP link. docs/http-transport.md has the format.

use data_encoding::BASE64;

use crate::transport::OutBuffer;

/// Appends the first event, which tells the client where to POST.
pub(crate) fn push_link(out: &mut OutBuffer, name: &str) {
    out.push(b"event: link\ndata: ");
    out.push(name.as_bytes());
    out.push(b"\n\n");
}

/// Appends a frame as an event.
pub(crate) fn push_frame(out: &mut OutBuffer, frame: &[u8]) {
    out.push(b"data: ");
    out.push(BASE64.encode(frame).as_bytes());
    out.push(b"\n\n");
}

/// Appends a comment, which clients pass over; one line.
pub(crate) fn push_comment(out: &mut OutBuffer, text: &str) {
    out.push(b": ");
    out.push(text.as_bytes());
    out.push(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_text() {
        let mut out = OutBuffer::default();
        push_link(&mut out, "00ff");
        push_frame(&mut out, &[0, 255, 254, 1]);
        push_comment(&mut out, "keep-alive");
        let text = String::from_utf8(out.pending().to_vec()).unwrap();
        assert_eq!(text, "event: link\ndata: 00ff\n\ndata: AP/+AQ==\n\n: keep-alive\n\n");
    }
}
