//! Streams between replicas: how they come up, carry frames and break.

use bytes::Bytes;

use super::network::pair_of;
use super::plan::MS;
use super::world::{Event, Phase, World};

impl World {
    pub(super) fn dial(&mut self, pair: (usize, usize)) {
        let (to, back) = (self.delay(), self.delay());
        let (now, backoff) = (self.now, self.draw.between(20 * MS..=200 * MS));
        let state = self.pairs.get(pair);
        let stalled = state.stalled_until.iter().any(|&until| now < until);
        if now < state.cut_until || stalled {
            self.queue.push(now + backoff, Event::Dial(pair));
            return;
        }
        state.live += 1;
        state.broken = false;
        state.drains = false;
        let live = state.live;
        state.arrival = [now + to, now + to + back];
        self.choose_twin(pair);
        self.queue.push(now + to, Event::PeerUp(pair, 1, live));
        self.queue.push(now + to + back, Event::PeerUp(pair, 0, live));
    }

    pub(super) fn peer_up(&mut self, pair: (usize, usize), side: usize, stream: u64) {
        let state = self.pairs.get(pair);
        if state.live != stream || state.broken {
            return;
        }
        let replaced = state.up[side].replace(stream).is_some();
        let (me, other) = if side == 0 { pair } else { (pair.1, pair.0) };
        self.trace(|| format!("r{me} has a stream to r{other}"));
        self.peer_input(self.facing(me, other), other, replaced);
    }

    pub(super) fn peer_down(&mut self, pair: (usize, usize), side: usize, stream: u64) {
        let state = self.pairs.get(pair);
        let noticed = state.up[side] == Some(stream);
        if noticed {
            state.up[side] = None;
        }
        let redial = side == 0 && state.live == stream;
        let (me, other) = if side == 0 { pair } else { (pair.1, pair.0) };
        if noticed {
            self.trace(|| format!("r{me} has lost its stream to r{other}"));
            self.peer_lost(self.facing(me, other), other);
        }
        if redial {
            let backoff = self.draw.between(20 * MS..=300 * MS);
            self.queue.push(self.now + backoff, Event::Dial(pair));
        }
    }

    pub(super) fn peer_frame(
        &mut self,
        pair: (usize, usize),
        side: usize,
        stream: u64,
        bytes: Bytes,
    ) {
        let state = self.pairs.get(pair);
        let lost = state.live == stream && state.broken && !state.drains;
        if state.up[side] != Some(stream) || lost {
            return;
        }
        let (me, other) = if side == 0 { pair } else { (pair.1, pair.0) };
        self.peer_bytes(self.facing(me, other), other, bytes);
    }

    /// The stream breaks; both sides notice in their time.
    pub(super) fn break_stream(&mut self, pair: (usize, usize)) {
        let (first, second) = (self.delay(), self.delay());
        let drains = self.draw.chance(1, 2);
        let now = self.now;
        let state = self.pairs.get(pair);
        if state.broken || state.live == 0 {
            return;
        }
        state.broken = true;
        state.drains = drains;
        let live = state.live;
        self.queue.push(now + first, Event::PeerDown(pair, 0, live));
        self.queue.push(now + second, Event::PeerDown(pair, 1, live));
    }

    /// Sends a frame from a replica's process to the member at a position, if there is a stream.
    pub(super) fn send_peer(&mut self, from: usize, to: usize, bytes: Bytes) {
        let position = self.replicas[from].position;
        if self.facing(position, to) != from {
            return;
        }
        let (pair, side) = pair_of(position, to);
        let delay = self.delay();
        let breaks =
            self.phase == Phase::One && self.draw.chance(self.plan.faults.peer_breaks, 1_000_000);
        let now = self.now;
        let state = self.pairs.get(pair);
        let Some(stream) = state.up[side] else { return };
        if state.live != stream || state.broken {
            return;
        }
        if breaks {
            self.stats.count("stream between replicas broken");
            self.break_stream(pair);
            return;
        }
        let state = self.pairs.get(pair);
        let at = (now + delay).max(state.arrival[side] + 1).max(state.stalled_until[side]);
        state.arrival[side] = at;
        self.queue.push(at, Event::PeerFrame(pair, 1 - side, stream, bytes));
    }

    /// The process at a position that another member has to do with: one of two twins.
    pub(super) fn facing(&self, position: usize, other: usize) -> usize {
        self.twins.get(&position).map_or(position, |twin| twin.faces[other])
    }

    /// For a new stream: which of two twins it leads to. While one of them still holds the old
    /// stream, the same one.
    fn choose_twin(&mut self, pair: (usize, usize)) {
        for (side, position, other) in [(0, pair.0, pair.1), (1, pair.1, pair.0)] {
            let held = self.pairs.get(pair).up[side].is_some();
            let first = self.draw_for_twin();
            if let Some(twin) = self.twins.get_mut(&position)
                && !held
            {
                twin.faces[other] = if first { position } else { twin.node };
            }
        }
    }

    fn draw_for_twin(&mut self) -> bool {
        !self.twins.is_empty() && self.draw.chance(1, 2)
    }

    /// Now and then a member has to do with the other one of two twins.
    pub(super) fn swap_twin(&mut self, position: usize) {
        let other = self.draw.below(self.plan.n);
        if other != position {
            self.stats.count("replica led to the other twin");
            self.break_stream(pair_of(position, other).0);
        }
        let next = self.now + self.draw.between(50 * MS..=800 * MS);
        self.queue.push(next, Event::SwapTwin(position));
    }
}
