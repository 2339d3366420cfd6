//! What a user of WebBFT writes: a deterministic service.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::membership::{Cid, ClientId, Digest};
use crate::time::UnixMicros;

/// A deterministic state machine that every replica runs.
///
/// All replicas execute the same operations in the same order and must reach the same state and
/// the same results. A service therefore sees only its own state, the operation and the
/// [`Context`]: no clock, no randomness of its own, no files, no iteration over a `HashMap`.
///
/// # Cloning
///
/// The executor clones the service before each operation, so that a panic leaves no trace
/// (the clone is put back), and will clone it for checkpoints. Keep `clone` independent of the
/// size of the state: hold large state in persistent collections (`rpds`, a rope, `Arc`).
pub trait Service: Clone + Send + 'static {
    /// Judges an operation before it takes part in ordering, from its bytes alone.
    ///
    /// Every correct replica must give the same answer for the same bytes for ever; state, time
    /// and configuration are out of reach on purpose. An `Err` is shown to the client as a
    /// refusal: the operation is never executed.
    ///
    /// # Errors
    /// Why the operation can never be executed, in words for the author of the client.
    fn admit(operation: &[u8]) -> Result<(), String> {
        let _ = operation;
        Ok(())
    }

    /// Executes an ordered operation and returns its result.
    ///
    /// Application errors are results like any other: encode them. A panic is caught, answered as
    /// [`ExecutionResult::Faulted`](crate::wire::ExecutionResult::Faulted), and undone.
    fn execute(&mut self, operation: &[u8], context: &mut Context<'_>) -> Vec<u8>;

    /// Answers a read without ordering it. Must not depend on anything but the state and `query`.
    fn query(&self, query: &[u8]) -> Answer;

    /// May this subscriber see this event of a topic (rule P6)? All may, unless a service says
    /// otherwise; who may not is told nothing but the event's number.
    ///
    /// Every correct replica must give the same answer for the same arguments for ever: an event is
    /// sent again long after it was published. So there is no state to look at; what decides has to
    /// be in the payload. A panic is taken for a no.
    fn may_see(subscriber: ClientId, topic: &str, payload: &[u8]) -> bool {
        let _ = (subscriber, topic, payload);
        true
    }

    /// The whole state as bytes; equal states give equal bytes.
    fn snapshot(&self) -> Vec<u8>;

    /// The service whose [`Service::snapshot`] gave these bytes.
    ///
    /// # Errors
    /// What is wrong with the snapshot; the bytes may come from a damaged file.
    fn restore(snapshot: &[u8]) -> Result<Self, RestoreError>;
}

/// A snapshot that cannot be restored, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot cannot be restored: {0}")]
pub struct RestoreError(pub String);

/// The answer to a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The result, as the client will see it.
    pub result: Vec<u8>,
    /// The consensus instance of the last operation that could have changed this result.
    ///
    /// Clients vote on (result, `as_of`), which keeps reads linearizable even where a value
    /// returns to an earlier one (docs/protocol.md, R2). `None` stands for "the last executed
    /// instance": always right, but such a read meets a quorum only while no writes are going on.
    pub as_of: Option<Cid>,
}

/// The agreed surroundings of one operation: the same at every replica.
#[derive(Debug)]
pub struct Context<'a> {
    /// Who invoked the operation: the hash of the client's public key.
    pub client: ClientId,
    /// The consensus instance that ordered the operation.
    pub cid: Cid,
    /// The agreed time of the batch, in microseconds since the Unix epoch; strictly increasing
    /// from batch to batch, never ahead of a correct clock by more than the allowed drift.
    pub time: UnixMicros,
    seed: Seed,
    published: &'a mut Vec<Publication>,
}

/// Where the seed comes from: few operations want it, and a hash costs time.
#[derive(Debug, Clone, Copy)]
enum Seed {
    Given([u8; 32]),
    Derived { hash: Digest, request: Digest },
}

/// An event that an operation published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The topic's name.
    pub topic: String,
    /// The event's payload.
    pub payload: Bytes,
}

impl<'a> Context<'a> {
    /// The surroundings of an operation. The executor makes these; services' unit tests may.
    #[must_use]
    pub fn new(
        client: ClientId,
        cid: Cid,
        time: UnixMicros,
        seed: [u8; 32],
        published: &'a mut Vec<Publication>,
    ) -> Self {
        Self { client, cid, time, seed: Seed::Given(seed), published }
    }

    /// With the seed of a request in a decided batch: the hash of that and the request's digest,
    /// which differs from every other in the batch (rule N6).
    pub(super) fn of_request(
        client: ClientId,
        cid: Cid,
        time: UnixMicros,
        (hash, request): (Digest, Digest),
        published: &'a mut Vec<Publication>,
    ) -> Self {
        Self { client, cid, time, seed: Seed::Derived { hash, request }, published }
    }

    /// 32 bytes agreed on by the replicas, different for every operation.
    ///
    /// They come from the decided batch, which a malicious leader can choose with this result in
    /// mind: good for shuffling and identifiers, not for lotteries with stakes.
    #[must_use]
    pub fn seed(&self) -> [u8; 32] {
        match self.seed {
            Seed::Given(seed) => seed,
            Seed::Derived { hash, request } => {
                let mut hasher = Sha256::new();
                hasher.update(b"webbft seed v1");
                hasher.update(hash.0);
                hasher.update(request.0);
                hasher.finalize().into()
            }
        }
    }

    /// Publishes an event: it gets the topic's next number and goes to every subscriber once the
    /// operation is executed. Nothing is published when the operation panics.
    pub fn publish(&mut self, topic: impl Into<String>, payload: impl Into<Bytes>) {
        self.published.push(Publication { topic: topic.into(), payload: payload.into() });
    }
}
