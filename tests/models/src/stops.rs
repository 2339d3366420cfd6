//! When do replicas leave a regency (rules S2, S4, S9), and when does a STOP lapse?
//!
//! Scope: three correct replicas and one Byzantine one (n = 4, f = 1, q = 3). The Byzantine
//! replica's STOPs and votes are there whenever they help it. A stream carries a sender's standing
//! STOP and its votes in order: the receiver *reads* the sender's present state at any later time,
//! which is as late or as early as a message can come. Instances are only counted: the leader of
//! regency 0, which may be faulty, has any two or three correct replicas vote in the next one, and
//! all of them decide it, as often as it likes. One request X is pending everywhere; the leader orders it when
//! it likes, or never.

use crate::checker::{Label, Model, Step};

/// Correct replicas.
const CORRECT: usize = 3;

/// How a STOP of a correct replica ends, other than by installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lapse {
    /// It never does.
    Never,
    /// It is void once its sender votes in a later instance of the same regency. The sender's
    /// clocks begin anew.
    Vote,
    /// The same, but a sender whose reason still holds repeats its STOP, with the new instance,
    /// before it votes there.
    VoteUnlessRenewed,
    /// The sender withdraws it as soon as its reason is gone.
    Withdrawn,
}

/// The rules; take one out by changing its field.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// S2: f + 1 STOPs make a replica send its own.
    pub join: bool,
    /// S4: STOP(x) counts for every regency up to x.
    pub counts_below: bool,
    /// When a STOP lapses.
    pub lapse: Lapse,
    /// S9: a STOP that a proof caused never lapses.
    pub proof_stands: bool,
}

impl Rules {
    /// The rules as they are.
    pub const ALL: Self =
        Self { join: true, counts_below: true, lapse: Lapse::Withdrawn, proof_stands: true };
}

/// What can happen, and how often.
#[derive(Debug, Clone, Copy)]
pub struct Scope {
    /// The last regency.
    pub regencies: u8,
    /// Does the leader of regency 0 get anything decided?
    pub instances: bool,
    /// Do clocks of a pending request run out at last, as they do where nothing is decided?
    pub clocks_run_out: bool,
    /// May replicas hold a proof against the leader of regency 0?
    pub proof: bool,
    /// May the leader order X?
    pub orders: bool,
    /// Instances that may still be decided after the clocks of all correct replicas ran out, where
    /// every message is read before the second instance after it is decided, and where joining
    /// and installing take no time.
    pub patience: Option<u8>,
}

/// The model.
#[derive(Debug, Clone, Copy)]
pub struct Stops {
    /// The rules in force.
    pub rules: Rules,
    /// The scope.
    pub scope: Scope,
}

/// Why a replica's STOP stands.
const OVERDUE: u8 = 1;
const PROOF: u8 = 2;
const JOINED: u8 = 4;

/// Properties.
pub const STUCK: &str = "replicas are stuck in different regencies";
/// Bounded liveness against a leader that leaves one client out.
pub const STARVED: &str = "a leader that never orders X stays";
/// S9.
pub const PROVED: &str = "a leader that is proved faulty stays";
/// One liar and one old STOP force a change.
pub const STALE: &str = "a STOP stands whose reason is gone";

/// A correct replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Replica {
    regency: u8,
    /// Its standing STOP, 0 for none, and why it stands.
    stop: u8,
    reasons: u8,
    /// The STOP names the open instance, not an earlier one.
    fresh: bool,
    /// A clock of X ran out at least once.
    ran_out: bool,
    /// The standing STOPs of the others as it read them.
    read: [u8; CORRECT],
    /// For how many instances something that the others sent has been unread, from 1; counted
    /// only where patience is.
    unread: [u8; CORRECT],
}

/// A state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    replicas: [Replica; CORRECT],
    /// X is ordered.
    ordered: bool,
    /// A correct replica held a proof against the leader.
    proved: bool,
    /// Once all clocks ran out: instances decided since then.
    since: Option<u8>,
}

impl Replica {
    /// STOP(`regency`) for a reason.
    fn send_stop(&mut self, regency: u8, reason: u8) {
        self.reasons |= reason;
        self.stop = self.stop.max(regency);
        self.fresh = true;
    }

    fn holds_proof(&self) -> bool {
        self.reasons & PROOF != 0
    }
}

impl Stops {
    /// Other correct replicas whose STOP counts at `replica` for regency `x`.
    fn stopped(&self, replica: &Replica, x: u8) -> usize {
        let below = self.rules.counts_below;
        replica.read.iter().filter(|&&stop| if below { stop >= x } else { stop == x }).count()
    }

    /// Correct replicas alone make `replica` join or install.
    fn acts_at_once(&self, replica: &Replica) -> bool {
        (replica.regency + 1..=self.scope.regencies).any(|x| {
            let others = self.stopped(replica, x);
            others >= 2 && (replica.stop >= x || self.rules.join)
        })
    }

    fn withdraw_if_groundless(&self, replica: &mut Replica) {
        if self.rules.lapse == Lapse::Withdrawn && replica.reasons == 0 {
            // The STOP that made it install its regency stands.
            replica.stop = replica.regency;
        }
    }

    /// `replica` votes in the open instance. `helped`: the Byzantine replica's STOP stands.
    fn vote(&self, replica: &mut Replica, helped: bool) {
        if replica.stop == 0 || replica.fresh {
            return;
        }
        let others = self.stopped(replica, 1) + usize::from(helped);
        let joined = if others >= 2 { JOINED } else { 0 };
        let proof = if self.rules.proof_stands { PROOF } else { 0 };
        let standing = match self.rules.lapse {
            Lapse::Never | Lapse::Withdrawn => return,
            Lapse::Vote => proof,
            Lapse::VoteUnlessRenewed => OVERDUE | proof | joined,
        };
        replica.reasons &= standing;
        if replica.reasons == 0 {
            replica.stop = 0;
        }
    }

    /// The correct replicas in `voters` vote in the open instance, and all decide it.
    fn instance(&self, state: &State, voters: &[usize], helped: bool, orders: bool) -> State {
        let mut after = *state;
        for &voter in voters {
            self.vote(&mut after.replicas[voter], helped);
        }
        for replica in &mut after.replicas {
            for age in replica.unread.iter_mut().filter(|age| **age > 0) {
                *age += 1;
            }
        }
        after.since = after.since.map(|count| count + 1);
        after.ordered |= orders;
        for who in 0..CORRECT {
            if self.scope.patience.is_some() && after.replicas[who].stop != state.replicas[who].stop
            {
                sent(&mut after, who);
            }
        }
        for replica in &mut after.replicas {
            replica.fresh = false;
            if orders {
                replica.reasons &= !OVERDUE;
                self.withdraw_if_groundless(replica);
            }
        }
        after
    }
}

/// Sets of correct replicas that make a quorum with the Byzantine one.
const VOTERS: [&[usize]; 4] = [&[0, 1, 2], &[0, 1], &[0, 2], &[1, 2]];

impl Model for Stops {
    type State = State;

    fn initial(&self) -> State {
        State {
            replicas: [Replica::default(); CORRECT],
            ordered: false,
            proved: false,
            since: None,
        }
    }

    fn steps(&self, state: &State, steps: &mut Vec<Step<State>>) {
        let scope = &self.scope;
        for voters in VOTERS {
            let may = voters.iter().all(|&voter| state.replicas[voter].regency == 0);
            let in_time = scope.patience.is_none()
                || state.replicas.iter().all(|replica| {
                    replica.unread.iter().all(|&age| age < 2) && !self.acts_at_once(replica)
                });
            if !may || !in_time || !scope.instances {
                continue;
            }
            for helped in [false, true] {
                for orders in [false, true] {
                    if orders && (!scope.orders || state.ordered) {
                        continue;
                    }
                    let after = self.instance(state, voters, helped, orders);
                    let name = match (voters.len(), orders) {
                        (3, false) => "{}, {} and {} vote and decide",
                        (3, true) => "{}, {} and {} vote and decide: X is ordered",
                        (_, false) => "{} and {} vote and decide",
                        (_, true) => "{} and {} vote and decide: X is ordered",
                    };
                    let given: Vec<u8> = voters.iter().map(|&voter| short(voter)).collect();
                    steps.push(Step { label: Label::new(name, &given), fair: false, after });
                }
            }
        }
        for (who, replica) in state.replicas.iter().enumerate() {
            let name = short(who);
            let mut push = |label, arguments: &[u8], fair, changed: Replica| {
                if changed == *replica {
                    return;
                }
                let mut after = *state;
                after.replicas[who] = changed;
                after.proved |= changed.holds_proof();
                if scope.patience.is_some() {
                    if after.since.is_none() && after.replicas.iter().all(|r| r.ran_out) {
                        after.since = Some(0);
                    }
                    if changed.stop != replica.stop {
                        sent(&mut after, who);
                    }
                }
                steps.push(Step { label: Label::new(label, arguments), fair, after });
            };
            let due = replica.reasons & OVERDUE == 0 || replica.stop <= replica.regency;
            if replica.regency < scope.regencies && !state.ordered && due {
                let mut changed = *replica;
                changed.ran_out = scope.patience.is_some();
                changed.send_stop(replica.regency + 1, OVERDUE);
                push("the clock of X runs out at {}: STOP", &[name], scope.clocks_run_out, changed);
            }
            if scope.proof && replica.regency == 0 && !replica.holds_proof() {
                // S9: the evidence stays in the STOP, after installation too, and convinces.
                let shown = state.replicas.iter().any(Replica::holds_proof);
                let mut changed = *replica;
                changed.send_stop(1, PROOF);
                push("{} holds a proof against the leader: STOP", &[name], shown, changed);
            }
            for (from, other) in state.replicas.iter().enumerate() {
                if from != who {
                    let mut changed = *replica;
                    changed.read[from] = other.stop;
                    changed.unread[from] = 0;
                    push("{} reads what {} sent", &[name, short(from)], true, changed);
                }
            }
            for x in replica.regency + 1..=scope.regencies {
                let others = self.stopped(replica, x);
                let below = self.rules.counts_below && replica.stop > x;
                let own = usize::from(replica.stop == x || below);
                if self.rules.join && others >= 1 && replica.stop < x {
                    let mut changed = *replica;
                    changed.send_stop(x, JOINED);
                    push("{} joins: STOP({})", &[name, x], others >= 2, changed);
                }
                if others + own >= 2 {
                    let mut changed = *replica;
                    changed.regency = x;
                    changed.reasons &= PROOF;
                    changed.fresh = false;
                    changed.stop = replica.stop.max(x);
                    push("{} installs regency {}", &[name, x], others + own >= 3, changed);
                }
            }
            let supporters = self.stopped(replica, replica.regency + 1);
            let joined = replica.reasons & JOINED != 0;
            if self.rules.lapse == Lapse::Withdrawn && joined && supporters < 2 {
                let mut changed = *replica;
                changed.reasons &= !JOINED;
                self.withdraw_if_groundless(&mut changed);
                push("{} no longer has f + 1 STOPs", &[name], supporters == 0, changed);
            }
        }
    }

    fn violation(&self, state: &State) -> Option<&'static str> {
        let patience = self.scope.patience?;
        let stays =
            state.replicas.iter().all(|replica| replica.regency == 0) && state.since? >= patience;
        stays.then_some(STARVED)
    }

    fn stuck(&self, state: &State) -> Option<&'static str> {
        let replicas = &state.replicas;
        let waits = |replica: &Replica| replica.regency < self.scope.regencies;
        if self.scope.clocks_run_out && !state.ordered && replicas.iter().any(waits) {
            return Some(STUCK);
        }
        let stayed = replicas.iter().any(|replica| replica.regency == 0);
        if self.scope.proof && state.proved && stayed {
            return Some(PROVED);
        }
        if self.scope.clocks_run_out || self.scope.patience.is_some() || self.scope.proof {
            return None;
        }
        let groundless = |r: &Replica| r.regency == 0 && r.reasons & OVERDUE == 0;
        let stale = |r: &Replica| r.stop > 0 || r.read.iter().any(|&stop| stop > 0);
        (replicas.iter().all(groundless) && replicas.iter().any(stale)).then_some(STALE)
    }

    /// Correct replicas are alike.
    fn canonical(&self, state: &State) -> State {
        const ORDERS: [[usize; CORRECT]; 6] =
            [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let rename = |order: [usize; CORRECT]| {
            order.map(|old| {
                let from = &state.replicas[old];
                Replica {
                    read: order.map(|other| from.read[other]),
                    unread: order.map(|other| from.unread[other]),
                    ..*from
                }
            })
        };
        let replicas = ORDERS.into_iter().map(rename).min().unwrap_or(state.replicas);
        State { replicas, ..*state }
    }
}

/// What `who` just sent is unread at the others.
fn sent(state: &mut State, who: usize) {
    for (other, replica) in state.replicas.iter_mut().enumerate() {
        if other != who {
            replica.unread[who] = replica.unread[who].max(1);
        }
    }
}

fn short(position: usize) -> u8 {
    u8::try_from(position).unwrap_or(u8::MAX)
}
