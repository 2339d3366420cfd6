//! The replicated session table: exactly-once, cached replies, deterministic eviction (rule A9).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::membership::{Cid, Digest, ViewNumber};
use crate::time::UnixMicros;
use crate::wire::limits::SESSION_WINDOW;
use crate::wire::{SessionKey, Topic};

/// Results of one session that are kept, in bytes; the newest is kept whatever its size.
const MAX_CACHED_BYTES: usize = 1 << 20;

/// A reply as it was first given: with the view and instance of the execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedReply {
    /// The request's number.
    pub number: u64,
    /// The view at execution.
    pub view: ViewNumber,
    /// The instance that ordered the request.
    pub cid: Cid,
    /// The encoded [`ExecutionResult`](crate::wire::ExecutionResult).
    pub result: Bytes,
    /// Its digest.
    pub digest: Digest,
}

#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) last_number: u64,
    pub(super) last_time: UnixMicros,
    /// Consecutive numbers, the last ordered one at the end.
    pub(super) replies: VecDeque<CachedReply>,
    cached_bytes: usize,
    pub(super) subscriptions: BTreeSet<Topic>,
}

/// All live sessions, and the horizon below which no session can be born any more.
///
/// A clone shares the sessions until one of the two changes them (rule C1).
#[derive(Debug, Clone)]
pub struct Sessions {
    table: BTreeMap<SessionKey, Arc<Session>>,
    /// (last agreed time, key), oldest first: the order of eviction.
    by_activity: BTreeSet<(UnixMicros, SessionKey)>,
    horizon: UnixMicros,
    capacity: usize,
    idle: Duration,
}

impl Session {
    fn holds_too_much(&self) -> bool {
        self.replies.len() as u64 > SESSION_WINDOW
            || (self.cached_bytes > MAX_CACHED_BYTES && self.replies.len() > 1)
    }
}

impl Sessions {
    /// An empty table for `capacity` sessions, each kept for `idle` of agreed time.
    #[must_use]
    pub const fn new(capacity: usize, idle: Duration) -> Self {
        Self {
            table: BTreeMap::new(),
            by_activity: BTreeSet::new(),
            horizon: UnixMicros::ZERO,
            capacity,
            idle,
        }
    }

    /// The number of live sessions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// A new session must be born later than this (rule A9).
    #[must_use]
    pub const fn horizon(&self) -> UnixMicros {
        self.horizon
    }

    /// The last ordered number of a live session.
    #[must_use]
    pub fn last_number(&self, key: &SessionKey) -> Option<u64> {
        self.table.get(key).map(|session| session.last_number)
    }

    /// The cached reply to a request, where still kept.
    #[must_use]
    pub fn reply(&self, key: &SessionKey, number: u64) -> Option<&CachedReply> {
        let replies = &self.table.get(key)?.replies;
        let first = replies.front()?.number;
        replies.get(usize::try_from(number.checked_sub(first)?).ok()?)
    }

    /// The topics to which a session is subscribed.
    pub fn subscriptions(&self, key: &SessionKey) -> impl Iterator<Item = &Topic> {
        self.table.get(key).into_iter().flat_map(|session| &session.subscriptions)
    }

    /// Is the session subscribed to the topic?
    #[must_use]
    pub fn is_subscribed(&self, key: &SessionKey, topic: &Topic) -> bool {
        self.table.get(key).is_some_and(|session| session.subscriptions.contains(topic))
    }

    /// The next request of a session is ordered at agreed time `time`: number 1 makes the session.
    /// It counts as active until its birth where that is later, so that the horizon has passed
    /// the birth of every session that was evicted (rule A9). The birth in later requests counts
    /// for nothing: nobody has judged it.
    ///
    /// # Panics
    /// Where the number is not the next one; batches are judged before they are executed.
    pub(super) fn begin(
        &mut self,
        key: SessionKey,
        number: u64,
        time: UnixMicros,
        born: UnixMicros,
    ) {
        let session = self.table.entry(key).or_insert_with(|| {
            Arc::new(Session {
                last_number: 0,
                last_time: UnixMicros::ZERO,
                replies: VecDeque::new(),
                cached_bytes: 0,
                subscriptions: BTreeSet::new(),
            })
        });
        let session = Arc::make_mut(session);
        assert_eq!(number, session.last_number + 1, "a session's requests are executed in order");
        session.last_number = number;
        let active = if number == 1 { time.max(born) } else { time.max(session.last_time) };
        if session.last_time != active {
            self.by_activity.remove(&(session.last_time, key));
            session.last_time = active;
            self.by_activity.insert((active, key));
        }
    }

    /// Keeps the reply to the request just executed.
    pub(super) fn cache(&mut self, key: &SessionKey, reply: CachedReply) {
        let session = self.get_mut(key).expect("begin() made the session");
        session.cached_bytes += reply.result.len();
        session.replies.push_back(reply);
        while session.holds_too_much() {
            let forgotten = session.replies.pop_front().expect("it is not empty");
            session.cached_bytes -= forgotten.result.len();
        }
    }

    fn get_mut(&mut self, key: &SessionKey) -> Option<&mut Session> {
        self.table.get_mut(key).map(Arc::make_mut)
    }

    /// All sessions, by key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&SessionKey, &Session)> {
        self.table.iter().map(|(key, session)| (key, &**session))
    }

    /// The keys of all sessions, ascending.
    pub fn keys(&self) -> impl Iterator<Item = &SessionKey> {
        self.table.keys()
    }

    /// Puts the horizon of a snapshot into an empty table.
    pub(super) const fn restore_horizon(&mut self, horizon: UnixMicros) {
        self.horizon = horizon;
    }

    /// Puts a session of a snapshot back; false where no sequence of batches leads there.
    pub(super) fn restore(
        &mut self,
        key: SessionKey,
        last_time: UnixMicros,
        replies: VecDeque<CachedReply>,
        subscriptions: BTreeSet<Topic>,
    ) -> bool {
        let Some(last_number) = replies.back().map(|reply| reply.number) else { return false };
        let cached_bytes = replies.iter().map(|reply| reply.result.len()).sum();
        let session = Session { last_number, last_time, replies, cached_bytes, subscriptions };
        let ascends = self.table.last_key_value().is_none_or(|(last, _)| *last < key);
        if !ascends
            || session.holds_too_much()
            || last_time <= self.horizon
            || self.table.len() >= self.capacity
        {
            return false;
        }
        self.table.insert(key, Arc::new(session));
        self.by_activity.insert((last_time, key));
        true
    }

    /// Adds a subscription; false where the session has `limit` already.
    pub(super) fn subscribe(&mut self, key: &SessionKey, topic: Topic, limit: usize) -> bool {
        let session = self.get_mut(key).expect("begin() made the session");
        if session.subscriptions.len() >= limit && !session.subscriptions.contains(&topic) {
            return false;
        }
        session.subscriptions.insert(topic);
        true
    }

    /// Ends a subscription.
    pub(super) fn unsubscribe(&mut self, key: &SessionKey, topic: &Topic) {
        if let Some(session) = self.get_mut(key) {
            session.subscriptions.remove(topic);
        }
    }

    /// After a batch of agreed time `time`: evicts idle sessions, then the least recently ordered
    /// ones over capacity, and raises the horizon accordingly. Gives what was evicted, with its
    /// subscriptions.
    pub(super) fn evict(&mut self, time: UnixMicros) -> Vec<(SessionKey, BTreeSet<Topic>)> {
        // Every session last active at or before this is idle, so none that stays is younger
        // than what the horizon excludes.
        self.horizon = self.horizon.max(time - self.idle);
        let mut evicted = Vec::new();
        while let Some(&(last_time, key)) = self.by_activity.first() {
            if last_time > self.horizon && self.table.len() <= self.capacity {
                break;
            }
            self.horizon = self.horizon.max(last_time);
            self.by_activity.pop_first();
            let session = self.table.remove(&key).expect("both indices hold the same sessions");
            evicted.push((key, Arc::unwrap_or_clone(session).subscriptions));
        }
        evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::{ClientId, SessionId};

    fn key(n: u8) -> SessionKey {
        SessionKey { client: ClientId([n; 16]), session: SessionId([0; 16]) }
    }

    fn reply(number: u64, size: usize) -> CachedReply {
        let result = Bytes::from(vec![0; size]);
        let digest = Digest::of(&result);
        CachedReply { number, view: ViewNumber(0), cid: Cid(number), result, digest }
    }

    #[test]
    fn capacity_evicts_the_least_recently_ordered_and_raises_the_horizon() {
        let mut sessions = Sessions::new(2, Duration::from_secs(1000));
        for (n, time) in [(1, 2_000_000_000), (2, 2_000_000_001), (3, 2_000_000_002)] {
            sessions.begin(key(n), 1, UnixMicros(time), UnixMicros::ZERO);
        }
        let evicted = sessions.evict(UnixMicros(2_000_000_002));
        assert_eq!(evicted, [(key(1), BTreeSet::new())]);
        assert_eq!(sessions.horizon(), UnixMicros(2_000_000_000));
        assert_eq!(sessions.last_number(&key(1)), None);
        assert_eq!(sessions.len(), 2);
    }

    #[test]
    fn idle_sessions_go_by_agreed_time() {
        let mut sessions = Sessions::new(10, Duration::from_secs(1));
        sessions.begin(key(1), 1, UnixMicros(5_000_000), UnixMicros::ZERO);
        sessions.begin(key(2), 1, UnixMicros(5_500_000), UnixMicros::ZERO);
        assert_eq!(sessions.evict(UnixMicros(5_999_999)), []);
        assert_eq!(sessions.evict(UnixMicros(6_000_000)), [(key(1), BTreeSet::new())]);
        assert_eq!(sessions.horizon(), UnixMicros(5_000_000));
        assert_eq!(sessions.last_number(&key(2)), Some(1));
    }

    /// A birth a little ahead of agreed time must not outlive the session (rule A9).
    #[test]
    fn a_session_is_never_evicted_before_the_horizon_has_passed_its_birth() {
        let mut sessions = Sessions::new(10, Duration::from_secs(1));
        let (time, born) = (UnixMicros(5_000_000), UnixMicros(5_700_000));
        sessions.begin(key(1), 1, time, born);
        sessions.begin(key(1), 2, time, UnixMicros(u64::MAX));
        assert_eq!(sessions.evict(UnixMicros(6_500_000)), []);
        assert_eq!(sessions.evict(UnixMicros(6_700_000)), [(key(1), BTreeSet::new())]);
        assert!(sessions.horizon() >= born);
    }

    #[test]
    fn replies_are_kept_for_the_window_and_within_bytes() {
        let mut sessions = Sessions::new(10, Duration::from_secs(1));
        for number in 1..=200 {
            sessions.begin(key(1), number, UnixMicros(number), UnixMicros::ZERO);
            sessions.cache(&key(1), reply(number, 1));
        }
        assert_eq!(sessions.reply(&key(1), 72), None);
        assert_eq!(sessions.reply(&key(1), 73), Some(&reply(73, 1)));
        assert_eq!(sessions.reply(&key(1), 200), Some(&reply(200, 1)));
        assert_eq!(sessions.reply(&key(1), 201), None);
        sessions.begin(key(1), 201, UnixMicros(201), UnixMicros::ZERO);
        sessions.cache(&key(1), reply(201, MAX_CACHED_BYTES + 1));
        assert_eq!(sessions.reply(&key(1), 200), None);
        assert_eq!(sessions.reply(&key(1), 201), Some(&reply(201, MAX_CACHED_BYTES + 1)));
    }
}
