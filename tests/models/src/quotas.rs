//! How much a receiver takes from each peer (rule A10).
//!
//! Scope: n = 4, one Byzantine replica, one Byzantine client. *Items* are the digests under one
//! number, or new sessions in units of the quota: each replica vouches directly for one, and for
//! every item that f + 1 replicas vouch for. The client has as many items as it needs.

use crate::checker::{Label, Model, Step};

const CORRECT: usize = 3;
/// Items that matter: one more than correct replicas can vouch for directly.
const ITEMS: u8 = 4;

/// The rules; take one out by changing its field.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// What each replica vouches for directly is limited to one.
    pub direct_limited: bool,
    /// What a receiver takes from one peer at most.
    pub share: u32,
    /// What it takes from all together, if there is such a limit.
    pub shared: Option<u32>,
}

impl Rules {
    /// The rules as they are: n − f from each peer, and no shared limit.
    pub const ALL: Self = Self { direct_limited: true, share: 3, shared: None };
}

/// Properties: no correct replica is taken for a liar.
pub const BLAMED: &str = "a correct replica vouches for more than its share";
/// Nor is what it says refused because of a liar.
pub const REFUSED: &str = "a correct replica's vouch is refused because a liar filled the table";

/// A correct replica; items are bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Replica {
    direct: bool,
    said: u8,
    read: [u8; CORRECT],
    blames: bool,
    refused: bool,
    /// Items that the liar invented and that lie here.
    lies: u32,
}

/// The model.
#[derive(Debug, Clone, Copy)]
pub struct Quotas {
    /// The rules in force.
    pub rules: Rules,
}

impl Quotas {
    fn read(&self, mut replica: Replica, from: usize, said: u8) -> Replica {
        let new = said & !replica.read[from];
        if said.count_ones() > self.rules.share {
            replica.blames = true;
        }
        let held: u32 = replica.read.iter().map(|set| set.count_ones()).sum();
        let after = held + replica.lies + new.count_ones();
        if self.rules.shared.is_some_and(|limit| after > limit) {
            replica.refused = true;
        } else {
            replica.read[from] |= new;
        }
        replica
    }
}

impl Model for Quotas {
    type State = [Replica; CORRECT];

    fn initial(&self) -> Self::State {
        [Replica::default(); CORRECT]
    }

    fn steps(&self, state: &Self::State, steps: &mut Vec<Step<Self::State>>) {
        for (me, replica) in state.iter().enumerate() {
            let mut push = |name, arguments: &[u8], fair, changed: Replica| {
                let mut after = *state;
                after[me] = changed;
                steps.push(Step { label: Label::new(name, arguments), fair, after });
            };
            let name = u8::try_from(me).unwrap_or(u8::MAX);
            for item in 0..ITEMS {
                let said = replica.said | 1 << item;
                if !replica.direct || !self.rules.direct_limited {
                    let changed = Replica { direct: true, said, ..*replica };
                    push("{} verifies item {}", &[name, item], false, changed);
                }
                let support =
                    (0..CORRECT).filter(|&other| replica.read[other] >> item & 1 == 1).count();
                // The liar vouches where it helps.
                if support >= 1 {
                    let changed = Replica { said, ..*replica };
                    push("{} vouches along for item {}", &[name, item], support >= 2, changed);
                }
            }
            for (from, other) in state.iter().enumerate().filter(|(from, _)| *from != me) {
                let changed = self.read(*replica, from, other.said);
                let given = [name, u8::try_from(from).unwrap_or(u8::MAX)];
                push("{} reads what {} vouches for", &given, true, changed);
            }
            if self.rules.shared.is_some() && replica.lies < self.rules.share {
                let changed = Replica { lies: replica.lies + 1, ..*replica };
                push("the liar vouches for something of its own at {}", &[name], false, changed);
            }
        }
    }

    fn violation(&self, state: &Self::State) -> Option<&'static str> {
        if state.iter().any(|replica| replica.blames) {
            return Some(BLAMED);
        }
        state.iter().any(|replica| replica.refused).then_some(REFUSED)
    }

    /// Correct replicas are alike.
    fn canonical(&self, state: &Self::State) -> Self::State {
        const ORDERS: [[usize; CORRECT]; 6] =
            [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let rename = |order: [usize; CORRECT]| {
            order.map(|old| {
                let from = state[old];
                Replica { read: order.map(|other| from.read[other]), ..from }
            })
        };
        ORDERS.into_iter().map(rename).min().unwrap_or(*state)
    }
}
