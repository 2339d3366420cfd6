//! The body of a POST on an HTTP link: frames, each after its length.
//!
//! docs/http-transport.md has the format. Nothing in it is trusted: the frames carry MACs. It is
//! also compiled into tests/fuzz.

use bytes::{Buf as _, Bytes};
use webbft_protocol::wire::limits::MAX_CLIENT_FRAME;

/// The length of a frame, before it: u32, big endian.
const PREFIX: usize = 4;
/// The longest body of a POST: the longest frame and its length.
pub(crate) const MAX_BODY: usize = MAX_CLIENT_FRAME + PREFIX;

/// Why a body is no sequence of frames: the client is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MalformedBody {
    /// At least one frame is needed.
    #[error("the body is empty; it must be one or more frames, each after its length")]
    Empty,
    /// Nothing has a length of 0.
    #[error("the frame at byte {0} is empty")]
    EmptyFrame(usize),
    /// It cannot be a frame.
    #[error("the frame at byte {at} is announced with {len} bytes, more than {MAX_CLIENT_FRAME}")]
    TooLong {
        /// Where its length stands.
        at: usize,
        /// How long it claims to be.
        len: usize,
    },
    /// The body ends too early.
    #[error("the body ends within the frame at byte {0}")]
    CutShort(usize),
}

/// The frames of a POST's body, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Frames {
    rest: Bytes,
    /// Frames are copied out of a body of several, so that a small one does not hold a large body.
    copied: bool,
}

impl Frames {
    /// Checks that `body` is one or more frames and nothing else.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub(crate) fn parse(body: Bytes) -> Result<Self, MalformedBody> {
        let mut at = 0;
        let mut count = 0;
        while at < body.len() {
            let rest = &body[at..];
            let (prefix, rest) =
                rest.split_first_chunk::<PREFIX>().ok_or(MalformedBody::CutShort(at))?;
            let len = u32::from_be_bytes(*prefix) as usize;
            if len == 0 {
                return Err(MalformedBody::EmptyFrame(at));
            }
            if len > MAX_CLIENT_FRAME {
                return Err(MalformedBody::TooLong { at, len });
            }
            if len > rest.len() {
                return Err(MalformedBody::CutShort(at));
            }
            at += PREFIX + len;
            count += 1;
        }
        if count == 0 {
            return Err(MalformedBody::Empty);
        }
        Ok(Self { rest: body, copied: count > 1 })
    }

    /// Bytes not yet taken, with their lengths.
    pub(crate) const fn remaining(&self) -> usize {
        self.rest.len()
    }
}

impl Iterator for Frames {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let len = self.rest.try_get_u32().ok()? as usize;
        let frame = self.rest.split_to(len.min(self.rest.len()));
        Some(if self.copied { Bytes::copy_from_slice(&frame) } else { frame })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &[u8]) -> Result<Vec<Vec<u8>>, MalformedBody> {
        let frames = Frames::parse(Bytes::copy_from_slice(body))?;
        Ok(frames.map(|frame| frame.to_vec()).collect())
    }

    #[test]
    fn bodies_are_frames_after_their_lengths() {
        assert_eq!(parse(&[0, 0, 0, 2, 7, 8]), Ok(vec![vec![7, 8]]));
        assert_eq!(parse(&[0, 0, 0, 1, 7, 0, 0, 0, 2, 8, 9]), Ok(vec![vec![7], vec![8, 9]]));
    }

    #[test]
    fn whatever_is_wrong_with_a_body_is_named() {
        assert_eq!(parse(&[]), Err(MalformedBody::Empty));
        assert_eq!(parse(&[0, 0, 0]), Err(MalformedBody::CutShort(0)));
        assert_eq!(parse(&[0, 0, 0, 2, 7]), Err(MalformedBody::CutShort(0)));
        assert_eq!(parse(&[0, 0, 0, 1, 7, 0]), Err(MalformedBody::CutShort(5)));
        assert_eq!(parse(&[0, 0, 0, 1, 7, 0, 0, 0, 0]), Err(MalformedBody::EmptyFrame(5)));
        let len = u32::MAX as usize;
        assert_eq!(parse(&[255; 9]), Err(MalformedBody::TooLong { at: 0, len }));
        let error = MalformedBody::TooLong { at: 0, len }.to_string();
        assert_eq!(
            error,
            "the frame at byte 0 is announced with 4294967295 bytes, more than 4195328"
        );
    }

    /// Every short body of these bytes is refused, or is its frames and nothing else.
    #[test]
    fn what_is_taken_is_what_was_sent() {
        let bytes = [0, 1, 2, 255];
        let mut taken = 0;
        for len in 0..=8 {
            for number in 0..bytes.len().pow(len) {
                let digit = |place| bytes[number / bytes.len().pow(place) % bytes.len()];
                let body: Vec<u8> = (0..len).map(digit).collect();
                let Ok(frames) = parse(&body) else { continue };
                taken += 1;
                let prefixed = frames.iter().flat_map(|frame| {
                    let prefix = u32::try_from(frame.len()).unwrap().to_be_bytes();
                    prefix.into_iter().chain(frame.iter().copied())
                });
                assert_eq!(prefixed.collect::<Vec<_>>(), body);
            }
        }
        // One frame of one byte, or of two.
        assert_eq!(taken, 4 + 16);
    }

    #[test]
    fn the_longest_frame_fits() {
        let mut body = u32::try_from(MAX_CLIENT_FRAME).unwrap().to_be_bytes().to_vec();
        body.resize(MAX_BODY, 1);
        let frames: Vec<_> = Frames::parse(body.into()).unwrap().collect();
        assert_eq!(frames.iter().map(Bytes::len).collect::<Vec<_>>(), [MAX_CLIENT_FRAME]);
    }
}
