//! Admission (rules A1 to A7): which requests may be ordered, and whose clock runs.
//!
//! Scope: three correct replicas and a Byzantine one (n = 4, f = 1), a Byzantine client with one
//! session and two requests: two bodies under number 1, or numbers 1 and 2. The client's MAC is
//! valid at whatever replicas it likes. The Byzantine replica vouches, and takes back, whatever
//! helps, to each replica something else. A stream carries a sender's vouches in order: the
//! receiver *reads* what was said on the present stream, at any time. A correct replica may
//! restart: it keeps what it ordered and wrote, and forgets its vouches, which its new streams
//! then lack. An instance orders one request.

use crate::checker::{Label, Model, Step};

/// The first correct replica leads where the leader is correct.
const LEADER: usize = 0;
/// The requests.
const REQUESTS: [usize; 2] = [0, 1];

/// The rules; take one out by changing its field.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// A1: vouch for what f + 1 replicas vouch for.
    pub vouch_along: bool,
    /// A1: f + 1; false: one.
    pub vouch_along_enough: bool,
    /// A1: above number 1 only in a session that it knows or for whose number 1 it vouches.
    pub vouch_along_begun: bool,
    /// A2: a digest is alike everywhere; false: over what only one link carries, its MAC for one.
    pub digest_alike: bool,
    /// A3: a new stream replaces what was held from its sender.
    pub replaced: bool,
    /// A3: a receiver that had to ignore vouches asks for them again.
    pub asked_again: bool,
    /// A4: 2f + 1 vouches; false: f + 1.
    pub vouches_enough: bool,
    /// A4: its own among them.
    pub own_vouch: bool,
    /// A4: not latched.
    pub present: bool,
    /// A5: a clock runs for admitted requests; false: for all that are verified.
    pub clock_admitted: bool,
    /// A5: only for the next of its session.
    pub clock_next: bool,
    /// A5: ordering a number ends the clocks of every digest under it.
    pub clock_ends: bool,
    /// A6: the leader proposes admitted requests; false: verified ones.
    pub propose_admitted: bool,
    /// A8: nothing expires by a local clock.
    pub no_local_expiry: bool,
    /// A7: write what was vouched for; false: what the leader says.
    pub write_vouched: bool,
    /// A7: what f + 1 replicas ever vouched for; false: vouch for now.
    pub write_ever: bool,
    /// A7: a missing vouch delays; false: it rejects.
    pub write_delayed: bool,
}

impl Rules {
    /// The rules as they are.
    pub const ALL: Self = Self {
        vouch_along: true,
        vouch_along_enough: true,
        vouch_along_begun: true,
        digest_alike: true,
        replaced: true,
        asked_again: true,
        vouches_enough: true,
        own_vouch: true,
        present: true,
        clock_admitted: true,
        clock_next: true,
        clock_ends: true,
        propose_admitted: true,
        no_local_expiry: true,
        write_vouched: true,
        write_ever: true,
        write_delayed: true,
    };
}

/// How much can happen.
#[derive(Debug, Clone, Copy)]
pub struct Scope {
    /// The number of each request in its session: 1 and 1, or 1 and 2.
    pub numbers: [u8; 2],
    /// The leader is correct.
    pub correct_leader: bool,
    /// Byzantine replicas, and f: all but these are correct, and make a quorum.
    pub liars: usize,
    /// Restarts of correct replicas.
    pub restarts: u8,
}

/// Properties, the first five of states in which everything is delivered.
pub const FRAMED: &str = "a correct leader is suspected";
/// A correct leader's proposal.
pub const BLOCKED: &str = "a correct leader's proposal is not written";
/// One admits, another does not.
pub const NOT_TOTAL: &str = "one correct replica admits a request and another does not";
/// All have it from its client.
pub const REFUSED: &str = "a request that every correct replica vouches for is not admitted";
/// What a correct replica says is ignored although it is not ahead.
pub const ASKS: &str = "a correct replica asks another for its vouches again and again";
/// Safety.
pub const FORGED: &str = "a correct replica writes what no correct replica verified";

/// A correct replica. Sets of requests have two bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Replica<const CORRECT: usize> {
    /// The last number it has ordered.
    ordered: u8,
    bodies: u8,
    /// Vouched for on its present streams.
    said: u8,
    /// Numbers, from bit 0, under which it vouched directly.
    direct: u8,
    /// What it holds from each correct replica, and ever held.
    read: [u8; CORRECT],
    ever: [u8; CORRECT],
    /// Ignored and never said again.
    missed: [u8; CORRECT],
    wrote: u8,
    /// Admitted once.
    latched: u8,
    rejected: bool,
    /// Dropped because a local clock said so.
    expired: u8,
}

impl<const CORRECT: usize> Default for Replica<CORRECT> {
    fn default() -> Self {
        Self {
            ordered: 0,
            bodies: 0,
            said: 0,
            direct: 0,
            read: [0; CORRECT],
            ever: [0; CORRECT],
            missed: [0; CORRECT],
            wrote: 0,
            latched: 0,
            rejected: false,
            expired: 0,
        }
    }
}

/// A state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct State<const CORRECT: usize> {
    replicas: [Replica<CORRECT>; CORRECT],
    /// Requests that a correct replica verified.
    verified: u8,
    /// The open proposal, as a set.
    proposal: u8,
    /// What each number's instance decided, as a set.
    decided: [u8; 2],
    restarts: u8,
}

/// The model.
#[derive(Debug, Clone, Copy)]
pub struct Admission<const CORRECT: usize> {
    /// The rules in force.
    pub rules: Rules,
    /// The scope.
    pub scope: Scope,
}

const fn bit(request: usize) -> u8 {
    1 << request
}

fn holders<const CORRECT: usize>(sets: &[u8; CORRECT], me: usize, request: usize) -> usize {
    (0..CORRECT).filter(|&other| other != me && sets[other] & bit(request) != 0).count()
}

impl<const CORRECT: usize> Admission<CORRECT> {
    const fn number(&self, request: usize) -> u8 {
        self.scope.numbers[request]
    }

    /// Requests with numbers that are not ordered.
    fn live(&self, ordered: u8) -> u8 {
        REQUESTS.into_iter().filter(|&r| self.number(r) > ordered).map(bit).sum()
    }

    /// Requests with number 1.
    fn first(&self) -> u8 {
        self.live(0) & !self.live(1)
    }

    /// Is `request` admitted at `me`, with so many vouches of the liar?
    fn admitted(&self, replica: &Replica<CORRECT>, me: usize, request: usize, help: usize) -> bool {
        let own = replica.said & bit(request) != 0;
        let vouches = usize::from(own) + holders(&replica.read, me, request) + help;
        let enough =
            if self.rules.vouches_enough { 2 * self.scope.liars + 1 } else { self.scope.liars + 1 };
        let held = replica.bodies & bit(request) != 0;
        let now = held && vouches >= enough && (own || !self.rules.own_vouch);
        (now || replica.latched & bit(request) != 0)
            && self.live(replica.ordered) & !replica.expired & bit(request) != 0
    }

    /// Does the clock of `request` run at `me`?
    fn clock(&self, state: &State<CORRECT>, me: usize, request: usize) -> bool {
        let replica = &state.replicas[me];
        let number = self.number(request);
        let over = number <= replica.ordered;
        let ordered = over && state.decided[usize::from(number) - 1] & bit(request) != 0;
        if ordered || (over && self.rules.clock_ends) {
            return false;
        }
        if over {
            return replica.said & bit(request) != 0;
        }
        let next = number == replica.ordered + 1 || !self.rules.clock_next;
        let verified = replica.said & bit(request) != 0;
        let runs = if self.rules.clock_admitted {
            self.admitted(replica, me, request, self.scope.liars)
        } else {
            verified
        };
        next && runs
    }

    /// What `me` makes of what `from` said on its present stream.
    fn read(&self, state: &State<CORRECT>, me: usize, from: usize) -> Replica<CORRECT> {
        let mut replica = state.replicas[me];
        let said = state.replicas[from].said;
        let mut counted = 0;
        let begun = replica.ordered > 0 || said & self.first() != 0;
        for request in REQUESTS.into_iter().filter(|&r| said & bit(r) != 0) {
            if self.number(request) > 1 && !begun {
                // The sender is ahead (A3).
                if !self.rules.asked_again {
                    replica.missed[from] |= bit(request);
                }
            } else {
                counted |= bit(request);
            }
        }
        counted &= !replica.missed[from] & self.live(replica.ordered);
        if !self.rules.digest_alike {
            counted = 0;
        }
        if !self.rules.replaced {
            counted |= replica.read[from];
        }
        replica.read[from] = counted;
        replica.ever[from] |= counted;
        replica
    }

    /// May `me` write `request`, with so many vouches of the liar?
    fn may_write(
        &self,
        replica: &Replica<CORRECT>,
        me: usize,
        request: usize,
        help: usize,
    ) -> bool {
        if !self.rules.write_vouched {
            return true;
        }
        let sets = if self.rules.write_ever { &replica.ever } else { &replica.read };
        let own = usize::from(replica.said & bit(request) != 0);
        let along = own + holders(sets, me, request) + help > self.scope.liars;
        replica.bodies & bit(request) != 0 && (own > 0 || along)
    }

    /// `replica` orders number `ordered` + 1.
    fn execute(&self, replica: &mut Replica<CORRECT>) {
        replica.ordered += 1;
        let live = self.live(replica.ordered);
        replica.bodies &= live;
        for set in replica.read.iter_mut().chain(&mut replica.ever) {
            *set &= live;
        }
        replica.latched &= live;
        replica.wrote = 0;
    }

    fn lead(&self, state: &State<CORRECT>, steps: &mut Vec<Step<State<CORRECT>>>) {
        let leader = &state.replicas[LEADER];
        let open = usize::from(leader.ordered);
        if state.proposal != 0 || open > 1 || state.decided[open] != 0 {
            return;
        }
        for request in REQUESTS.into_iter().filter(|&r| self.number(r) == leader.ordered + 1) {
            let may = |help| {
                if self.rules.propose_admitted {
                    self.admitted(leader, LEADER, request, help)
                } else {
                    leader.bodies & leader.said & bit(request) != 0
                }
            };
            if may(self.scope.liars) {
                let after = State { proposal: bit(request), ..*state };
                let label = Label::new("the leader proposes request {}", &[short(request)]);
                steps.push(Step { label, fair: may(0), after });
            }
        }
    }

    fn decide(&self, state: &State<CORRECT>, steps: &mut Vec<Step<State<CORRECT>>>) {
        let wrote = state.replicas.iter().filter(|replica| replica.wrote != 0).count();
        if state.proposal == 0 || wrote + self.scope.liars < CORRECT {
            return;
        }
        let mut after = *state;
        let Some(open) = after.decided.iter_mut().find(|decided| **decided == 0) else { return };
        *open = state.proposal;
        after.proposal = 0;
        for replica in &mut after.replicas {
            replica.wrote = 0;
        }
        let label = Label::new("the proposal is decided", &[]);
        steps.push(Step { label, fair: wrote >= CORRECT, after });
    }
}

impl<const CORRECT: usize> Model for Admission<CORRECT> {
    type State = State<CORRECT>;

    fn initial(&self) -> State<CORRECT> {
        let replicas = [Replica::default(); CORRECT];
        State { replicas, verified: 0, proposal: 0, decided: [0; 2], restarts: 0 }
    }

    fn steps(&self, state: &State<CORRECT>, steps: &mut Vec<Step<State<CORRECT>>>) {
        let (rules, scope) = (&self.rules, &self.scope);
        if scope.correct_leader {
            self.lead(state, steps);
            self.decide(state, steps);
        }
        for (me, replica) in state.replicas.iter().enumerate() {
            let mut push =
                |name, arguments: &[u8], fair, changed: Replica<CORRECT>, verified: u8| {
                    if changed != *replica {
                        let mut after = *state;
                        after.replicas[me] = changed;
                        after.verified |= verified;
                        steps.push(Step { label: Label::new(name, arguments), fair, after });
                    }
                };
            let name = short(me);
            let live = self.live(replica.ordered) & !replica.expired;
            for request in REQUESTS.into_iter().filter(|&r| live & bit(r) != 0) {
                let given = [name, short(request)];
                let number = self.number(request);
                let begun = number == 1 || replica.ordered > 0 || replica.direct & 1 != 0;
                if replica.direct >> (number - 1) & 1 == 0 && begun {
                    let mut changed = *replica;
                    changed.direct |= 1 << (number - 1);
                    changed.bodies |= bit(request);
                    changed.said |= bit(request);
                    push("{} verifies request {}", &given, false, changed, bit(request));
                }
                let support = holders(&replica.ever, me, request);
                let enough = if rules.vouch_along_enough { scope.liars + 1 } else { 1 };
                let held = replica.bodies & replica.said & bit(request) != 0;
                let known = number == 1
                    || replica.ordered > 0
                    || replica.said & self.first() != 0
                    || !rules.vouch_along_begun;
                if !held && support + scope.liars >= enough && rules.vouch_along && known {
                    let mut changed = *replica;
                    changed.bodies |= bit(request);
                    changed.said |= bit(request);
                    let served = state.replicas.iter().any(|r| r.bodies & bit(request) != 0);
                    let fair = support >= enough && served;
                    push("{} fetches request {} and vouches", &given, fair, changed, 0);
                }
                if !rules.no_local_expiry && replica.said & bit(request) != 0 {
                    let expired = replica.expired | bit(request);
                    let changed = Replica { expired, ..*replica };
                    push("{} drops request {}, which is old", &given, false, changed, 0);
                }
                if !rules.present && self.admitted(replica, me, request, self.scope.liars) {
                    let mut changed = *replica;
                    changed.latched |= bit(request);
                    let fair = self.admitted(replica, me, request, 0);
                    push("{} admits request {} for good", &given, fair, changed, 0);
                }
                let proposed =
                    if scope.correct_leader { state.proposal & bit(request) != 0 } else { true };
                if !proposed || replica.wrote != 0 || number != replica.ordered + 1 {
                    continue;
                }
                if self.may_write(replica, me, request, scope.liars) {
                    let mut changed = *replica;
                    changed.wrote = bit(request);
                    let fair = scope.correct_leader && self.may_write(replica, me, request, 0);
                    push("{} writes request {}", &given, fair, changed, 0);
                }
                let missing = !self.may_write(replica, me, request, 0);
                if !rules.write_delayed && scope.correct_leader && missing {
                    let changed = Replica { rejected: true, ..*replica };
                    push("{} rejects request {}", &given, false, changed, 0);
                }
            }
            for from in (0..CORRECT).filter(|&from| from != me) {
                let changed = self.read(state, me, from);
                push("{} reads what {} vouches for", &[name, short(from)], true, changed, 0);
            }
            if replica.said & !live != 0 {
                let changed = Replica { said: replica.said & live, ..*replica };
                push("{} begins new streams", &[name], false, changed, 0);
            }
            let decided = state.decided.get(usize::from(replica.ordered)).copied();
            if decided.is_some_and(|decided| decided != 0) {
                let mut changed = *replica;
                self.execute(&mut changed);
                push("{} executes number {}", &[name, changed.ordered], true, changed, 0);
            }
        }
        if state.restarts < scope.restarts {
            for (me, replica) in state.replicas.iter().enumerate() {
                let Replica { ordered, wrote, .. } = *replica;
                let mut after = *state;
                after.replicas[me] = Replica { ordered, wrote, ..Replica::default() };
                after.restarts += 1;
                let label = Label::new("{} restarts", &[short(me)]);
                steps.push(Step { label, fair: false, after });
            }
        }
    }

    fn violation(&self, state: &State<CORRECT>) -> Option<&'static str> {
        let wrote = state.replicas.iter().fold(0, |all, replica| all | replica.wrote);
        if wrote & !state.verified != 0 {
            return Some(FORGED);
        }
        state.replicas.iter().any(|replica| replica.rejected).then_some(FRAMED)
    }

    fn stuck(&self, state: &State<CORRECT>) -> Option<&'static str> {
        if self.scope.correct_leader && state.proposal != 0 {
            // A restart may have cost the vouches that the others need to write.
            return (state.restarts == 0).then_some(BLOCKED);
        }
        for me in (0..CORRECT).filter(|_| self.scope.correct_leader) {
            if REQUESTS.into_iter().any(|request| self.clock(state, me, request)) {
                return Some(FRAMED);
            }
        }
        let replicas = || state.replicas.iter().enumerate();
        for request in REQUESTS {
            let next = |replica: &Replica<CORRECT>| self.number(request) == replica.ordered + 1;
            let one = replicas().any(|(me, replica)| {
                next(replica) && self.admitted(replica, me, request, self.scope.liars)
            });
            let all = replicas().all(|(me, replica)| self.admitted(replica, me, request, 0));
            if one && !all {
                return Some(NOT_TOTAL);
            }
            let served = |replica: &Replica<CORRECT>| {
                next(replica) && replica.said & !replica.expired & bit(request) != 0
            };
            if replicas().all(|(_, replica)| served(replica)) && !all {
                return Some(REFUSED);
            }
        }
        let ignored = |replica: &Replica<CORRECT>, from: &Replica<CORRECT>| {
            let beyond = from.said & self.live(from.ordered) & !self.first();
            replica.ordered == 0 && from.said & self.first() == 0 && beyond != 0
        };
        let asks = replicas().any(|(_, replica)| {
            state.replicas.iter().any(|from| from.ordered == 0 && ignored(replica, from))
        });
        asks.then_some(ASKS)
    }

    /// Correct replicas are alike, but for a correct leader.
    fn canonical(&self, state: &State<CORRECT>) -> State<CORRECT> {
        // Cheap enough for three; larger scopes are walked, which needs no names.
        const ORDERS: [[usize; 3]; 6] =
            [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        if CORRECT != 3 {
            return *state;
        }
        let rename = |names: [usize; 3]| {
            let order: [usize; CORRECT] = std::array::from_fn(|place| names[place]);
            let replicas = order.map(|old| {
                let from = &state.replicas[old];
                Replica {
                    read: order.map(|other| from.read[other]),
                    ever: order.map(|other| from.ever[other]),
                    missed: order.map(|other| from.missed[other]),
                    ..*from
                }
            });
            State { replicas, ..*state }
        };
        let orders = if self.scope.correct_leader { &ORDERS[..2] } else { &ORDERS[..] };
        orders.iter().map(|order| rename(*order)).min().unwrap_or(*state)
    }
}

fn short(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}
