//! The service that the simulated replicas run: appended lists, registers and counters, which
//! records everything it executes.

use std::collections::VecDeque;

use bytes::Bytes;
use rpds::{RedBlackTreeMapSync, VectorSync};
use serde::{Deserialize, Serialize};
use webbft_protocol::execution::{Answer, Context, RestoreError, Service};
use webbft_protocol::membership::{Cid, ClientId, Digest};
use webbft_protocol::time::UnixMicros;
use webbft_protocol::wire::limits::CHUNK_BYTES;

/// How many items of a list are kept, and shown in replies.
const SHOWN: usize = 6;

/// Names an operation for the oracle; the service itself ignores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tag {
    /// The simulated client that made the operation.
    pub author: u32,
    /// Which of the author's sessions.
    pub session: u32,
    /// The author's count of operations in that session, ascending in order of invocation.
    pub number: u64,
    /// Distinguishes the bodies of a client that sends several under one number.
    pub variant: u32,
}

/// What an operation does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Appends to a list and publishes the item on the list's topic.
    Append {
        /// The list.
        key: u8,
        /// The item.
        item: Vec<u8>,
    },
    /// Sets a register. Few values, so that a register often returns to an earlier one.
    Set {
        /// The register.
        key: u8,
        /// The new value.
        value: u8,
    },
    /// Adds to a counter.
    Add {
        /// The counter.
        key: u8,
        /// How much.
        amount: u32,
    },
    /// Panics, which must leave no trace.
    Panic,
    /// Sets a register where it has the value that is expected.
    Cas {
        /// The register.
        key: u8,
        /// What it must have.
        expect: u8,
        /// The new value.
        value: u8,
    },
}

/// An operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Op {
    /// Its name.
    pub tag: Tag,
    /// What it does.
    pub action: Action,
}

impl Op {
    /// The payload of the request.
    ///
    /// # Panics
    /// Never: the type holds nothing that cannot be encoded.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        postcard::to_allocvec(self).expect("operations encode without error").into()
    }

    /// The operation in a payload, where it is one.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        match postcard::take_from_bytes(payload) {
            Ok((op, [])) => Some(op),
            _ => None,
        }
    }
}

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Query {
    /// The length and last items of a list.
    List(u8),
    /// The value of a register.
    Register(u8),
    /// The value of a counter.
    Counter(u8),
}

impl Query {
    /// The payload of the query.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        postcard::to_allocvec(self).expect("queries encode without error").into()
    }

    /// The query in a payload, where it is one.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        match postcard::take_from_bytes(payload) {
            Ok((query, [])) => Some(query),
            _ => None,
        }
    }
}

impl Action {
    /// The query whose answer this action changes.
    #[must_use]
    pub const fn changes(&self) -> Option<Query> {
        match self {
            Self::Append { key, .. } => Some(Query::List(*key)),
            Self::Set { key, .. } | Self::Cas { key, .. } => Some(Query::Register(*key)),
            Self::Add { key, .. } => Some(Query::Counter(*key)),
            Self::Panic => None,
        }
    }
}

/// The name of a list's topic.
#[must_use]
pub fn topic_of(key: u8) -> String {
    format!("list {key}")
}

/// An executed operation, as the service saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Executed {
    /// Who the replica says invoked it.
    pub client: ClientId,
    /// The instance.
    pub cid: Cid,
    /// The agreed time.
    pub time: UnixMicros,
    /// The agreed seed.
    pub seed: [u8; 32],
    /// The operation's bytes.
    pub payload: Bytes,
    /// The result returned.
    pub result: Bytes,
    /// Topic and payload of each event published.
    pub published: Vec<(String, Bytes)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
struct Cell {
    before: Option<Vec<u8>>,
    changed: Cid,
    /// The value, or the number of items that there ever were.
    value: u64,
    items: VecDeque<Bytes>,
}

impl Cell {
    fn answer(&self, query: Query) -> Vec<u8> {
        match query {
            Query::List(_) => encode(&(self.value, &self.items)),
            Query::Register(_) | Query::Counter(_) => encode(&self.value),
        }
    }
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).expect("plain data encodes without error")
}

/// A defect to be built into one replica's copy of the service, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Defect {
    /// None.
    #[default]
    None,
    /// The operation at this place of the log is not executed.
    Skip(usize),
    /// The operation at this place of the log is executed twice.
    Twice(usize),
    /// The operation at this place of the log is replaced by one that nobody sent.
    Forge(usize),
    /// Queries are answered from before the latest operation on the key.
    StaleReads,
}

/// The service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recorder {
    cells: RedBlackTreeMapSync<Query, Cell>,
    log: VectorSync<Executed>,
    /// A digest over the log.
    chain: Digest,
    defect: Defect,
    /// Chunks of nothing in particular that a snapshot begins with.
    ballast: u8,
}

impl Recorder {
    /// An empty service with a defect.
    #[must_use]
    pub fn with_defect(defect: Defect) -> Self {
        Self { defect, ..Self::default() }
    }

    /// With a state that is this many chunks longer.
    #[must_use]
    pub fn with_ballast(self, ballast: u8) -> Self {
        Self { ballast, ..self }
    }

    /// The ballast's bytes: of its chunks the last one changes from time to time, and the others
    /// never do, so that a replica that is behind holds some of them and not all.
    fn ballast(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::from(self.ballast) * CHUNK_BYTES];
        for (index, chunk) in bytes.chunks_mut(CHUNK_BYTES).enumerate() {
            let last = index + 1 == usize::from(self.ballast);
            let fill = if last { self.log.len() / 8 } else { index };
            chunk.fill(fill.to_le_bytes()[0]);
        }
        bytes
    }

    /// Everything executed so far, in order; operations that panicked leave no entry.
    #[must_use]
    pub const fn log(&self) -> &VectorSync<Executed> {
        &self.log
    }

    fn apply(&mut self, payload: &Bytes, context: &mut Context<'_>) -> Vec<u8> {
        let Some(op) = Op::decode(payload) else {
            panic!("a payload that admit refuses was ordered");
        };
        let Some(query) = op.action.changes() else {
            panic!("the operation asks for a panic");
        };
        let mut cell = self.cells.get(&query).cloned().unwrap_or_default();
        if self.defect == Defect::StaleReads {
            cell.before = Some(cell.answer(query));
        }
        let mut published = Vec::new();
        match op.action {
            Action::Append { key, item } => {
                let item = Bytes::from(item);
                cell.value += 1;
                cell.items.push_back(item.clone());
                if cell.items.len() > SHOWN {
                    cell.items.pop_front();
                }
                context.publish(topic_of(key), item.clone());
                published.push((topic_of(key), item));
            }
            Action::Set { value, .. } => cell.value = u64::from(value),
            Action::Add { amount, .. } => cell.value += u64::from(amount),
            Action::Cas { expect, value, .. } if cell.value == u64::from(expect) => {
                cell.value = u64::from(value);
            }
            Action::Cas { .. } | Action::Panic => {}
        }
        cell.changed = context.cid;
        let result = cell.answer(query);
        self.cells.insert_mut(query, cell);
        let entry = Executed {
            client: context.client,
            cid: context.cid,
            time: context.time,
            seed: context.seed(),
            payload: payload.clone(),
            result: result.clone().into(),
            published,
        };
        self.chain = Digest::of(&encode(&(self.chain, &entry)));
        self.log.push_back_mut(entry);
        result
    }

    /// A digest of the whole state, at a cost that does not grow with the log.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let cells: Vec<(&Query, &Cell)> = self.cells.iter().collect();
        Digest::of(&encode(&(cells, self.chain, self.log.len())))
    }
}

impl Service for Recorder {
    fn admit(operation: &[u8]) -> Result<(), String> {
        Op::decode(operation).map(|_| ()).ok_or_else(|| "not an operation of the recorder".into())
    }

    fn execute(&mut self, operation: &[u8], context: &mut Context<'_>) -> Vec<u8> {
        let payload = Bytes::copy_from_slice(operation);
        let place = self.log.len();
        match self.defect {
            Defect::Skip(at) if at == place => {
                self.defect = Defect::None;
                return Vec::new();
            }
            Defect::Twice(at) if at == place => {
                self.apply(&payload, context);
            }
            Defect::Forge(at) if at == place => {
                let tag = Tag { author: 0, session: 0, number: u64::MAX, variant: 0 };
                let action = Action::Add { key: 0, amount: 1 };
                return self.apply(&Op { tag, action }.encode(), context);
            }
            _ => {}
        }
        self.apply(&payload, context)
    }

    fn query(&self, query: &[u8]) -> Answer {
        let Some(query) = Query::decode(query) else {
            return Answer { result: b"not a query".to_vec(), as_of: Some(Cid::ZERO) };
        };
        let cell = self.cells.get(&query).cloned().unwrap_or_default();
        let result = cell.before.clone().unwrap_or_else(|| cell.answer(query));
        Answer { result, as_of: Some(cell.changed) }
    }

    fn snapshot(&self) -> Vec<u8> {
        let cells: Vec<(&Query, &Cell)> = self.cells.iter().collect();
        let mut bytes = self.ballast();
        bytes.extend(encode(&(cells, &self.log, self.chain)));
        bytes.push(self.ballast);
        bytes
    }

    fn restore(snapshot: &[u8]) -> Result<Self, RestoreError> {
        type State = (Vec<(Query, Cell)>, VectorSync<Executed>, Digest);
        let error = |what: &str| RestoreError(what.to_owned());
        let (&ballast, bytes) = snapshot.split_last().ok_or_else(|| error("no bytes"))?;
        let (held, bytes) = bytes
            .split_at_checked(usize::from(ballast) * CHUNK_BYTES)
            .ok_or_else(|| error("no ballast"))?;
        let (cells, log, chain): State =
            postcard::from_bytes(bytes).map_err(|error| RestoreError(error.to_string()))?;
        let cells = cells.into_iter().collect();
        let restored = Self { cells, log, chain, defect: Defect::None, ballast };
        if restored.ballast() == held { Ok(restored) } else { Err(error("other ballast")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(service: &mut Recorder, cid: u64, action: Action) -> Vec<u8> {
        let tag = Tag { author: 1, session: 0, number: cid, variant: 0 };
        let payload = Op { tag, action }.encode();
        let mut published = Vec::new();
        let client = ClientId([1; 16]);
        let mut context = Context::new(client, Cid(cid), UnixMicros(cid), [0; 32], &mut published);
        service.execute(&payload, &mut context)
    }

    #[test]
    fn answers_say_when_they_changed() {
        let mut service = Recorder::default();
        run(&mut service, 1, Action::Set { key: 0, value: 5 });
        run(&mut service, 2, Action::Add { key: 0, amount: 7 });
        let ask = |query: Query| service.query(&query.encode());
        assert_eq!(ask(Query::Register(0)), Answer { result: vec![5], as_of: Some(Cid(1)) });
        assert_eq!(ask(Query::Counter(0)), Answer { result: vec![7], as_of: Some(Cid(2)) });
        assert_eq!(ask(Query::Counter(1)), Answer { result: vec![0], as_of: Some(Cid(0)) });
    }

    #[test]
    fn snapshots_restore() {
        let mut service = Recorder::default();
        run(&mut service, 1, Action::Append { key: 3, item: vec![1, 2] });
        run(&mut service, 2, Action::Set { key: 3, value: 1 });
        for ballast in [0, 2] {
            let service = service.clone().with_ballast(ballast);
            let snapshot = service.snapshot();
            let restored = Recorder::restore(&snapshot).unwrap();
            assert_eq!(restored, service);
            assert_eq!(restored.snapshot(), snapshot);
            assert!(Recorder::restore(&snapshot[1..snapshot.len() - 1]).is_err());
        }
    }

    #[test]
    fn defects_show_in_the_log() {
        let log = |defect| {
            let mut service = Recorder::with_defect(defect);
            for cid in 1..=3 {
                run(&mut service, cid, Action::Add { key: 0, amount: 1 });
            }
            service.log().iter().map(|entry| entry.cid.0).collect::<Vec<_>>()
        };
        assert_eq!(log(Defect::None), [1, 2, 3]);
        assert_eq!(log(Defect::Skip(1)), [1, 3]);
        assert_eq!(log(Defect::Twice(1)), [1, 2, 2, 3]);
    }
}
