//! Links and what the network does to them.
//!
//! Links are reliable streams: a frame either arrives in order or the stream breaks, and what was
//! under way is lost. A new stream comes after a pause. The two ends notice at different times.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use webbft_protocol::auth::ReplicaLink;

use super::draw::Draw;
use super::plan::Latency;

impl Latency {
    /// How long one message takes.
    pub fn draw(self, draw: &mut Draw, phase_one: bool) -> u64 {
        let spike = phase_one && self.spike_one_in > 0 && draw.chance(1, self.spike_one_in);
        let extra = if spike { draw.between(0..=500_000) } else { 0 };
        1 + self.base + draw.tailed(self.jitter) + extra
    }
}

/// The stream between two replicas: which one lives, which one each side believes to live.
#[derive(Debug, Clone, Default)]
pub struct Pair {
    /// The latest stream, 0 before the first.
    pub live: u64,
    /// Has it broken?
    pub broken: bool,
    /// Per side (lower position first): the stream that it believes to be up.
    pub up: [Option<u64>; 2],
    /// Per direction (from the lower position first): nothing arrives before this.
    pub arrival: [u64; 2],
    /// Per direction: nothing arrives before this, the network stalls.
    pub stalled_until: [u64; 2],
    /// Where it has broken: does what was under way still arrive at a side that has not noticed?
    pub drains: bool,
    /// No stream can be made before this.
    pub cut_until: u64,
}

/// All streams between replicas.
#[derive(Debug, Clone, Default)]
pub struct Pairs(BTreeMap<(usize, usize), Pair>);

impl Pairs {
    /// All pairs of `n` replicas, not connected yet.
    #[must_use]
    pub fn new(n: usize) -> Self {
        let pairs = (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b)));
        Self(pairs.map(|pair| (pair, Pair::default())).collect())
    }

    /// The pairs.
    #[must_use]
    pub fn keys(&self) -> Vec<(usize, usize)> {
        self.0.keys().copied().collect()
    }

    /// One pair.
    ///
    /// # Panics
    /// Where there is none.
    pub fn get(&mut self, pair: (usize, usize)) -> &mut Pair {
        self.0.get_mut(&pair).expect("a pair of distinct replicas, the lower one first")
    }
}

/// The pair of two replicas, and which side of it the first one is.
#[must_use]
pub const fn pair_of(me: usize, other: usize) -> ((usize, usize), usize) {
    if me < other { ((me, other), 0) } else { ((other, me), 1) }
}

/// Who opened a client link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A correct client.
    Client(usize),
    /// A Byzantine one.
    Attacker(usize),
}

/// One end of a client link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Not yet open.
    Opening,
    /// Open.
    Open,
    /// Closed, or never opened.
    Closed,
}

/// A frame under way on a client link.
#[derive(Debug, Clone)]
pub struct Carried {
    /// Its bytes.
    pub bytes: Bytes,
    /// Must the receiver refuse it, because the network tampered with the stream before its end?
    pub must_fail: bool,
}

/// A client link.
#[derive(Debug)]
pub struct Conn {
    /// Who opened it.
    pub owner: Owner,
    /// To the replica at which position.
    pub replica: usize,
    /// The replica's process: its position, or its twin.
    pub node: usize,
    /// Has it broken?
    pub broken: bool,
    /// The client's end.
    pub client_end: End,
    /// The replica's end.
    pub replica_end: End,
    /// Nothing arrives before this: at the replica, at the client.
    pub arrival: [u64; 2],
    /// Frames that the replica's kernel holds.
    pub inbox: VecDeque<Carried>,
    /// The replica's end once the handshake is done.
    pub link: Option<ReplicaLink>,
    /// Per direction: must whatever comes next be refused?
    pub spoilt: [bool; 2],
    /// Per direction: a frame that the network holds back to deliver it after the next.
    pub held: [Option<Bytes>; 2],
}

impl Conn {
    /// A link that is being opened.
    #[must_use]
    pub const fn new(owner: Owner, replica: usize, node: usize) -> Self {
        Self {
            owner,
            replica,
            node,
            broken: false,
            client_end: End::Opening,
            replica_end: End::Opening,
            arrival: [0; 2],
            inbox: VecDeque::new(),
            link: None,
            spoilt: [false; 2],
            held: [None, None],
        }
    }

    /// Passes a frame through a network that tampers with it: what is delivered instead.
    pub fn tamper(&mut self, direction: usize, bytes: &Bytes, draw: &mut Draw) -> Vec<Carried> {
        let fails = |bytes: Bytes| Carried { bytes, must_fail: true };
        let spoilt = std::mem::replace(&mut self.spoilt[direction], true);
        match draw.below(5) {
            // A flipped bit.
            0 => {
                let mut damaged = bytes.to_vec();
                if damaged.is_empty() {
                    return Vec::new();
                }
                let at = draw.below(damaged.len());
                damaged[at] ^= 1 << draw.below(8);
                vec![fails(damaged.into())]
            }
            // Repeated.
            1 => vec![Carried { bytes: bytes.clone(), must_fail: spoilt }, fails(bytes.clone())],
            // Left out: the next one must fail.
            2 => Vec::new(),
            // Cut short.
            3 => vec![fails(bytes.slice(..draw.below(bytes.len().max(1))))],
            // Moved behind the next one.
            _ => {
                self.held[direction] = Some(bytes.clone());
                Vec::new()
            }
        }
    }

    /// Passes a frame on as it is though it counts as tampered with.
    #[must_use]
    pub fn pretend_to_tamper(bytes: Bytes) -> Vec<Carried> {
        vec![Carried { bytes, must_fail: true }]
    }

    /// Passes a frame through a network that leaves it alone, though it may have tampered before.
    pub fn pass(&mut self, direction: usize, bytes: Bytes) -> Vec<Carried> {
        let must_fail = self.spoilt[direction];
        let mut carried = vec![Carried { bytes, must_fail }];
        if let Some(held) = self.held[direction].take() {
            carried.push(Carried { bytes: held, must_fail: true });
        }
        carried
    }
}
