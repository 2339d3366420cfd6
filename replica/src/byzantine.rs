//! A replica that misbehaves towards clients on purpose, for demonstrations and tests.
//!
//! Only `webbft replica --byzantine` turns it on. Ordering stays honest: what is falsified is
//! what clients are told, between the state machine and the MAC, so that the lie is
//! authenticated like the truth.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use webbft_protocol::membership::Digest;
use webbft_protocol::replica::ToClient;
use webbft_protocol::time::{Instant, Now};
use webbft_protocol::wire::{ExecutionResult, Frame, ReplicaFrame, ReplicaHeader, decode, encode};

/// The delay of [`Misbehaviour::Slow`].
const DELAY: Duration = Duration::from_millis(500);

/// How a replica misbehaves towards its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Misbehaviour {
    /// Falsifies the result, its digest, or the payload in every reply, query reply and event.
    Lie,
    /// Takes part in ordering, and never answers a client.
    Mute,
    /// Sends everything to clients half a second late.
    Slow,
}

impl Misbehaviour {
    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lie => "lie",
            Self::Mute => "mute",
            Self::Slow => "slow",
        }
    }
}

/// Stands between the state machine's output for clients and their links.
#[derive(Debug)]
pub(crate) struct Distortion {
    how: Option<Misbehaviour>,
    delayed: VecDeque<(Instant, ToClient)>,
}

impl Distortion {
    pub(crate) const fn new(how: Option<Misbehaviour>) -> Self {
        Self { how, delayed: VecDeque::new() }
    }

    /// What is to be sent now in place of `output`, if anything.
    pub(crate) fn pass(&mut self, now: Now, output: ToClient) -> Option<ToClient> {
        match self.how {
            None => Some(output),
            Some(Misbehaviour::Mute) => None,
            Some(Misbehaviour::Slow) => {
                self.delayed.push_back((now.instant + DELAY, output));
                None
            }
            Some(Misbehaviour::Lie) => {
                let ToClient { link, frame } = output;
                Some(ToClient { link, frame: falsify(frame) })
            }
        }
    }

    /// A delayed output that is due.
    pub(crate) fn due(&mut self, now: Now) -> Option<ToClient> {
        let (at, _) = self.delayed.front()?;
        if *at > now.instant {
            return None;
        }
        self.delayed.pop_front().map(|(_, output)| output)
    }

    /// When the next delayed output is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.delayed.front().map(|(at, _)| *at)
    }
}

/// The same frame with another result or payload, and the digest that belongs to it.
fn falsify(mut frame: ReplicaFrame) -> ReplicaFrame {
    let lie = match &mut frame.header {
        ReplicaHeader::Reply { digest, full, .. } => {
            let body = if *full { falsify_result(&frame.body) } else { Bytes::new() };
            *digest = if *full { Digest::of(&body) } else { falsify_digest(*digest) };
            body
        }
        ReplicaHeader::QueryReply { digest, full, .. }
        | ReplicaHeader::Event { digest, full, .. } => {
            let body = if *full { falsify_bytes(&frame.body) } else { Bytes::new() };
            *digest = if *full { Digest::of(&body) } else { falsify_digest(*digest) };
            body
        }
        ReplicaHeader::Announcement { .. } => falsify_bytes(&frame.body),
        _ => return frame,
    };
    Frame::new(frame.header, lie)
}

fn falsify_digest(digest: Digest) -> Digest {
    Digest::of(&digest.0)
}

fn falsify_result(body: &Bytes) -> Bytes {
    match decode::<ExecutionResult>(body) {
        Ok(ExecutionResult::Value(value)) => {
            encode(&ExecutionResult::Value(falsify_bytes(&value))).into()
        }
        Ok(ExecutionResult::Subscribed { next }) => {
            encode(&ExecutionResult::Subscribed { next: next + 1 }).into()
        }
        _ => encode(&ExecutionResult::Value(Bytes::from_static(b"{\"ok\":null}"))).into(),
    }
}

/// JSON stays JSON of the same shape: values change, keys stay. Other bytes have one bit flipped.
fn falsify_bytes(bytes: &Bytes) -> Bytes {
    match serde_json::from_slice::<serde_json::Value>(bytes) {
        Ok(mut value) => {
            falsify_json(&mut value);
            serde_json::to_vec(&value).map_or_else(|_| Bytes::new(), Bytes::from)
        }
        Err(_) => {
            let mut lie = bytes.to_vec();
            match lie.first_mut() {
                Some(first) => *first ^= 1,
                None => lie.push(0),
            }
            lie.into()
        }
    }
}

fn falsify_json(value: &mut serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::Null => *value = Value::from(0),
        Value::Bool(truth) => *truth = !*truth,
        Value::Number(number) => {
            *value = match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => Value::from(number ^ 1),
                (None, Some(number)) => Value::from(number + 1),
                (None, None) => Value::from(0),
            };
        }
        Value::String(text) => {
            *text = if text.is_empty() {
                "x".to_owned()
            } else {
                text.chars().map(next_letter).collect()
            };
        }
        Value::Array(values) if values.is_empty() => values.push(Value::from(1)),
        Value::Array(values) => values.iter_mut().for_each(falsify_json),
        Value::Object(fields) if fields.is_empty() => *value = Value::from(1),
        Value::Object(fields) => fields.values_mut().for_each(falsify_json),
    }
}

/// The next letter of the alphabet, round and round; whatever is no ASCII letter or digit stays.
fn next_letter(letter: char) -> char {
    match letter {
        'z' => 'a',
        'Z' => 'A',
        '9' => '0',
        'a'..='y' | 'A'..='Y' | '0'..='8' => {
            char::from_u32(u32::from(letter) + 1).unwrap_or(letter)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use webbft_protocol::membership::{Cid, SessionId, ViewNumber};
    use webbft_protocol::replica::LinkId;

    fn reply(result: &ExecutionResult, full: bool) -> ReplicaFrame {
        let body = Bytes::from(encode(result));
        let header = ReplicaHeader::Reply {
            session: SessionId([1; 16]),
            number: 1,
            view: ViewNumber(0),
            cid: Cid(1),
            digest: Digest::of(&body),
            full,
        };
        Frame::new(header, if full { body } else { Bytes::new() })
    }

    #[test]
    fn a_lie_is_plausible_and_consistent() {
        let truth = ExecutionResult::Value(Bytes::from_static(
            br#"{"ok":{"text":"Hazel 9","version":4,"on":true,"gone":null}}"#,
        ));
        let lie = falsify(reply(&truth, true));
        let ReplicaHeader::Reply { digest, full: true, .. } = &lie.header else { panic!() };
        assert_eq!(*digest, Digest::of(&lie.body));
        assert_eq!(
            decode(&lie.body),
            Ok(ExecutionResult::Value(Bytes::from_static(
                br#"{"ok":{"gone":0,"on":false,"text":"Ibafm 0","version":5}}"#
            )))
        );
    }

    #[test]
    fn a_digest_without_body_lies_too() {
        let truth = reply(&ExecutionResult::Unsubscribed, false);
        let lie = falsify(truth.clone());
        assert_ne!(lie.header, truth.header);
        assert!(lie.body.is_empty());
    }

    #[test]
    fn what_is_not_json_changes_as_well() {
        for truth in [&b""[..], b"abc", b"[]", b"{}", b"\"\"", b"-5", b"1.5"] {
            let truth = Bytes::from_static(truth);
            assert_ne!(falsify_bytes(&truth), truth);
        }
    }

    #[test]
    fn slowness_is_a_matter_of_time_not_of_order() {
        let mut slow = Distortion::new(Some(Misbehaviour::Slow));
        let at = |ms| Now { instant: Instant::ZERO + Duration::from_millis(ms), ..Now::default() };
        for link in 0..2 {
            let frame = reply(&ExecutionResult::Unsubscribed, true);
            assert!(slow.pass(at(link), ToClient { link: LinkId(link), frame }).is_none());
        }
        assert!(slow.due(at(499)).is_none());
        assert_eq!(slow.next_deadline(), Some(at(500).instant));
        assert_eq!(slow.due(at(600)).unwrap().link, LinkId(0));
        assert_eq!(slow.due(at(600)).unwrap().link, LinkId(1));
        assert!(slow.due(at(600)).is_none());
    }
}
