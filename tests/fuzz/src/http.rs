//! What parses the two directions of a link over HTTP, before any MAC is checked.

use bytes::Bytes;
use webbft_protocol::wire::limits::MAX_CLIENT_FRAME;

use crate::choices::Choices;

// The daemon and the native client keep these to themselves, and here nothing else of them is needed.
#[path = "../../../replica/src/link/body.rs"]
#[allow(dead_code, reason = "the daemon uses the rest")]
mod body;
#[path = "../../../client/src/link/sse.rs"]
mod sse;

use body::{Frames, MalformedBody};
use sse::Parser;

/// Lines of an event stream are no longer than this here.
const MAX_LINE: usize = 64;

/// The body of a POST is its frames and nothing else, and an error says where it is wrong. A stream of
/// events is the same wherever its pieces end.
pub fn http(bytes: &[u8]) {
    any_body(bytes);
    let mut choices = Choices::new(bytes);
    damaged_body(&mut choices);
    let cuts: Vec<usize> = (0..4).map(|_| 1 + choices.below(40)).collect();
    let stream = bytes.get(choices.below(bytes.len())..).unwrap_or_default();
    let whole = events(std::iter::once(stream));
    assert_eq!(events(pieces(stream, &cuts)), whole, "it depends on the pieces");
    for (name, data) in whole.iter().flatten() {
        assert!(name.len() + data.len() <= 2 * MAX_LINE, "an event has no bound");
    }
}

fn prefixed(frames: &[Bytes]) -> Vec<u8> {
    let prefixed = |frame: &Bytes| {
        let len = u32::try_from(frame.len()).expect("frames are short");
        [&len.to_be_bytes(), &frame[..]].concat()
    };
    frames.iter().flat_map(prefixed).collect()
}

fn any_body(bytes: &[u8]) {
    match Frames::parse(Bytes::copy_from_slice(bytes)) {
        Ok(frames) => {
            let frames: Vec<Bytes> = frames.collect();
            assert!(!frames.is_empty() && frames.iter().all(|frame| !frame.is_empty()));
            assert_eq!(prefixed(&frames), bytes, "frames are lost or made up");
        }
        Err(MalformedBody::Empty) => assert!(bytes.is_empty()),
        Err(MalformedBody::EmptyFrame(at) | MalformedBody::CutShort(at)) => {
            assert!(at < bytes.len());
        }
        Err(MalformedBody::TooLong { at, len }) => {
            assert!(at < bytes.len() && len > MAX_CLIENT_FRAME);
        }
    }
}

/// Frames as a client sends them, whole and then cut off.
fn damaged_body(choices: &mut Choices<'_>) {
    let count = 1 + choices.below(4);
    let frames: Vec<Bytes> = (0..count)
        .map(|_| {
            let mut frame = choices.bytes(40);
            frame.push(choices.byte());
            frame.into()
        })
        .collect();
    let body = prefixed(&frames);
    let taken = Frames::parse(body.clone().into()).map(Iterator::collect::<Vec<_>>);
    assert_eq!(taken.as_ref(), Ok(&frames), "honest frames were refused");
    let cut = choices.below(body.len());
    let ends: Vec<usize> = (0..=count).map(|end| prefixed(&frames[..end]).len()).collect();
    let refusal = match ends.iter().rposition(|&end| end <= cut) {
        Some(0) if cut == 0 => Some(MalformedBody::Empty),
        Some(last) if ends[last] < cut => Some(MalformedBody::CutShort(ends[last])),
        _ => None,
    };
    assert_eq!(Frames::parse(body[..cut].to_vec().into()).err(), refusal);
}

fn pieces<'a>(mut rest: &'a [u8], cuts: &[usize]) -> impl Iterator<Item = &'a [u8]> {
    cuts.iter().cycle().map_while(move |&cut| {
        let (piece, after) = rest.split_at(cut.min(rest.len()));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Names and data of the events, up to the first error.
fn events<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Option<(String, String)>> {
    let mut parser = Parser::new(MAX_LINE);
    let mut found = Vec::new();
    for piece in pieces {
        parser.feed(piece);
        loop {
            match parser.next() {
                Ok(Some(event)) => found.push(Some((event.name, event.data))),
                Ok(None) => break,
                Err(_) => {
                    found.push(None);
                    return found;
                }
            }
        }
    }
    found
}
