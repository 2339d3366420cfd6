//! What happened in a run, as the invariants see it.

use bytes::Bytes;
use webbft_protocol::client::{CallError, Evidence, Outcome, SuspectReason};
use webbft_protocol::membership::{Cid, ClientId, Digest, Epoch, Regency};

use super::service::{Executed, Query};

/// A simulated client, by its number.
pub type Author = usize;

/// One fact. `at` times are virtual microseconds.
#[derive(Debug, Clone)]
pub enum Fact {
    /// A client, correct or not, is about to send an operation.
    Sent {
        /// Its id.
        client: ClientId,
        /// The operation.
        payload: Bytes,
    },
    /// A correct replica decided.
    Decided {
        /// Its position.
        replica: usize,
        /// The instance.
        cid: Cid,
        /// The hash of the batch.
        hash: Digest,
    },
    /// A correct replica executed an operation.
    Executed {
        /// Its position.
        replica: usize,
        /// The place in its log, from 0.
        place: usize,
        /// What was executed.
        entry: Executed,
    },
    /// The digest of a correct replica's state.
    State {
        /// Its position.
        replica: usize,
        /// After this instance.
        cid: Cid,
        /// Of the service's snapshot.
        digest: Digest,
    },
    /// A correct client invoked an operation.
    InvokeBegan {
        /// The client.
        author: Author,
        /// The operation.
        payload: Bytes,
    },
    /// It completed.
    InvokeDone {
        /// The client.
        author: Author,
        /// The operation.
        payload: Bytes,
        /// The result.
        result: Bytes,
        /// Who said so.
        evidence: Evidence,
    },
    /// It failed.
    InvokeFailed {
        /// The client.
        author: Author,
        /// The operation.
        payload: Bytes,
        /// Why.
        error: CallError,
        /// Was it executed?
        outcome: Outcome,
    },
    /// A correct client asked a query.
    ReadBegan {
        /// The client.
        author: Author,
        /// Its name for the query.
        read: u64,
        /// The query.
        query: Query,
    },
    /// It was answered.
    ReadDone {
        /// The client.
        author: Author,
        /// Its name for the query.
        read: u64,
        /// The query.
        query: Query,
        /// The result.
        result: Bytes,
        /// Who said so.
        evidence: Evidence,
    },
    /// A correct client's subscription is in force.
    Subscribed {
        /// The client.
        author: Author,
        /// Its name for the subscription.
        subscription: u64,
        /// The topic.
        topic: String,
        /// The first event's number.
        next: u64,
    },
    /// A correct client's subscription has ended.
    Unsubscribed {
        /// The client.
        author: Author,
        /// Its name for the subscription.
        subscription: u64,
    },
    /// A correct client was given an event.
    Event {
        /// The client.
        author: Author,
        /// Its name for the subscription.
        subscription: u64,
        /// The topic.
        topic: String,
        /// The event's number.
        number: u64,
        /// Its payload.
        payload: Bytes,
    },
    /// A correct client was told of lost events.
    Gap {
        /// The client.
        author: Author,
        /// Its name for the subscription.
        subscription: u64,
        /// The first event lost.
        missed_from: u64,
        /// The next to come.
        next: u64,
    },
    /// A correct client announces something to the other subscribers of a topic; nothing twice.
    Announced {
        /// The client's id.
        client: ClientId,
        /// The topic.
        topic: String,
        /// What.
        payload: Bytes,
    },
    /// A correct client was told what another one announced.
    Announcement {
        /// The client that was told.
        author: Author,
        /// Its name for the subscription.
        subscription: u64,
        /// The topic.
        topic: String,
        /// Who is said to have announced it.
        client: ClientId,
        /// What.
        payload: Bytes,
    },
    /// A correct client suspects a replica.
    Suspected {
        /// The client.
        author: Author,
        /// The replica.
        replica: usize,
        /// Why.
        reason: SuspectReason,
    },
    /// A correct replica has been started again; what it decides and executes from now on begins
    /// anew.
    Restarted {
        /// Its position.
        replica: usize,
        /// Has it kept its word in mind?
        remembers: bool,
    },
    /// A correct replica has fetched the state after an instance.
    Transferred {
        /// Its position.
        replica: usize,
        /// The instance.
        cid: Cid,
        /// The hash of its batch.
        hash: Digest,
    },
    /// A correct replica has installed a regency.
    RegencyInstalled {
        /// Its position.
        replica: usize,
        /// The regency.
        regency: Regency,
    },
    /// A vote, STOPDATA or SYNC of a correct replica will survive a crash.
    Recorded {
        /// Its position.
        replica: usize,
        /// What.
        word: Word,
    },
    /// A correct replica gives its word: by a vote, a proposal, or in a leader change.
    Said {
        /// Its position.
        replica: usize,
        /// What.
        word: Word,
    },
    /// A correct replica suspects the leader.
    LeaderSuspected {
        /// Its position.
        replica: usize,
    },
    /// A frame that the network had damaged, repeated or moved was taken by its receiver.
    TamperedFrameTaken {
        /// Who took it.
        by: String,
    },
    /// The run is over: everything that was to finish has finished, or is stuck.
    End,
}

/// What a replica gives its word for. Where the kind is not about an instance, `cid` is 0 and
/// `epoch` that of the regency that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Word {
    /// What kind.
    pub kind: Saying,
    /// The instance.
    pub cid: Cid,
    /// The epoch.
    pub epoch: Epoch,
    /// The hash.
    pub hash: Digest,
}

/// The messages by which a replica gives its word about an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Saying {
    /// PROPOSE.
    Proposes,
    /// WRITE.
    Writes,
    /// ACCEPT.
    Accepts,
    /// STOPDATA.
    TellsLeader,
    /// SYNC.
    Synchronises,
}

/// What was true of the run as a whole; the invariants judge facts in its light.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Positions of the Byzantine replicas.
    pub byzantine: Vec<usize>,
    /// Could anything but a Byzantine client have made replicas suspect the leader?
    pub leader_may_be_suspected: bool,
    /// Does a replica have to have on disk what it gives its word for?
    pub recorded: bool,
    /// Did the network tamper with frames on client links?
    pub tampering: bool,
    /// Events of a topic that replicas keep.
    pub events_kept: u64,
    /// Is the table of sessions so small that correct clients may lose theirs?
    pub few_sessions: bool,
}
