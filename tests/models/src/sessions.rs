//! Sessions, their births, eviction and the horizon (rules A8, A9, N6).
//!
//! Scope: what is decided, by the agreed prefix alone. One session S with requests 1 and 2, whose
//! copies are around for ever, and other sessions that come as they like. The table is bounded.
//! Time is a few ticks long. Clocks of correct replicas show the same, which only goes forward;
//! drift is what they allow for. Leaders are Byzantine where safety is concerned: they order
//! whatever is valid, with any time that correct replicas take.

use crate::checker::{Label, Model, Step};

/// A session that was idle for so long is evicted.
const IDLE: u8 = 2;
/// How far a batch or a birth may be ahead of a clock.
const DRIFT: u8 = 1;
/// The last tick.
const END: u8 = 7;

/// The rules; take one out by changing its field.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// A8: a leader with a pending session that is old orders an empty batch.
    pub empty_batches: bool,
    /// A9: number 1 of a session born at or before the horizon is invalid.
    pub births_count: bool,
    /// A9: the horizon follows agreed time.
    pub horizon_follows: bool,
    /// A9: evicting the least recently ordered session raises the horizon.
    pub eviction_raises: bool,
    /// A9: a session counts as active until its birth at least.
    pub active_from_birth: bool,
    /// A9: higher numbers of unknown sessions are invalid.
    pub higher_invalid: bool,
    /// A9: nobody vouches for a birth too far ahead of the clock.
    pub births_bounded: bool,
    /// N6: nor writes a batch whose time is.
    pub times_bounded: bool,
}

impl Rules {
    /// The rules as they are.
    pub const ALL: Self = Self {
        empty_batches: true,
        births_count: true,
        horizon_follows: true,
        eviction_raises: true,
        active_from_birth: true,
        higher_invalid: true,
        births_bounded: true,
        times_bounded: true,
    };
}

/// How much can happen.
#[derive(Debug, Clone, Copy)]
pub struct Scope {
    /// Sessions in the table.
    pub capacity: usize,
    /// Do other sessions come? Then the table can overflow.
    pub others: bool,
    /// S is pending at correct replicas and never admitted; the leader is correct.
    pub pending: bool,
}

/// Properties.
pub const TWICE: &str = "a request is executed twice";
/// Exactly once, in order.
pub const ORDER: &str = "number 2 is executed before number 1";
/// The horizon.
pub const AGED: &str = "sessions expire that are not older than the clocks allow";
/// A8.
pub const KEPT: &str = "a pending session is kept for ever";

/// A known session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Session {
    /// Agreed time when it was last active.
    active: u8,
    last: u8,
    is_s: bool,
}

/// A state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    clock: u8,
    time: u8,
    horizon: u8,
    /// The birth that S claims, once it does.
    born: Option<u8>,
    table: [Option<Session>; 3],
    /// How often each number of S was executed, up to two.
    executed: [u8; 2],
}

/// The model.
#[derive(Debug, Clone, Copy)]
pub struct Sessions {
    /// The rules in force.
    pub rules: Rules,
    /// The scope.
    pub scope: Scope,
}

/// What a batch holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Batch {
    Empty,
    Number(u8),
    Other(u8),
}

impl Sessions {
    /// The state after a batch, where it is valid.
    fn order(&self, state: &State, time: u8, batch: Batch) -> Option<State> {
        let mut after = State { time, ..*state };
        match batch {
            Batch::Empty => {}
            Batch::Number(number) => {
                let born = state.born?;
                let known = after.table.iter_mut().flatten().find(|session| session.is_s);
                match known {
                    Some(session) if session.last + 1 == number => {
                        session.last = number;
                        session.active = session.active.max(time);
                    }
                    Some(_) => return None,
                    None => {
                        let expired = born <= state.horizon && self.rules.births_count;
                        let higher = number > 1 && self.rules.higher_invalid;
                        if expired || higher {
                            return None;
                        }
                        self.enter(&mut after, born, number, true);
                    }
                }
                let executed = &mut after.executed[usize::from(number) - 1];
                *executed = (*executed + 1).min(2);
            }
            Batch::Other(born) => {
                if born <= state.horizon && self.rules.births_count {
                    return None;
                }
                self.enter(&mut after, born, 1, false);
            }
        }
        self.evict(&mut after);
        Some(after)
    }

    fn enter(&self, state: &mut State, born: u8, last: u8, is_s: bool) {
        let active = if self.rules.active_from_birth { born.max(state.time) } else { state.time };
        if let Some(free) = state.table.iter_mut().find(|place| place.is_none()) {
            *free = Some(Session { active, last, is_s });
        }
    }

    fn evict(&self, state: &mut State) {
        let idle = state.time.saturating_sub(IDLE);
        let horizon = state.horizon.max(idle);
        if self.rules.horizon_follows {
            state.horizon = horizon;
        }
        for place in &mut state.table {
            *place = place.filter(|session| session.active > horizon);
        }
        while state.table.iter().flatten().count() > self.scope.capacity {
            let oldest = state.table.iter_mut().filter(|place| place.is_some()).min();
            let Some(session) = oldest.and_then(Option::take) else { break };
            if self.rules.eviction_raises {
                state.horizon = state.horizon.max(session.active);
            }
        }
        state.table.sort_unstable();
    }
}

impl Model for Sessions {
    type State = State;

    fn initial(&self) -> State {
        State {
            clock: 1,
            time: 0,
            horizon: 0,
            born: self.scope.pending.then_some(1),
            table: [None; 3],
            executed: [0; 2],
        }
    }

    fn steps(&self, state: &State, steps: &mut Vec<Step<State>>) {
        let (rules, scope) = (&self.rules, &self.scope);
        let mut push = |name, arguments: &[u8], fair, after: State| {
            steps.push(Step { label: Label::new(name, arguments), fair, after });
        };
        if state.clock < END {
            push("clocks go on", &[], true, State { clock: state.clock + 1, ..*state });
        }
        let latest = |bounded: bool| {
            if bounded { (state.clock + DRIFT).min(END) } else { END }
        };
        if scope.pending {
            let expired = state.born.is_none_or(|born| born <= state.horizon);
            if rules.empty_batches && !expired && state.time < state.clock {
                let after = self.order(state, state.clock, Batch::Empty);
                if let Some(after) = after {
                    push("an empty batch at {}", &[state.clock], true, after);
                }
            }
            return;
        }
        if state.born.is_none() {
            for born in 1..=latest(rules.births_bounded) {
                push("S is born at {}", &[born], false, State { born: Some(born), ..*state });
            }
        }
        for time in state.time + 1..=latest(rules.times_bounded) {
            let mut order = |name, arguments: &[u8], batch| {
                if let Some(after) = self.order(state, time, batch) {
                    push(name, arguments, false, after);
                }
            };
            order("an empty batch at {}", &[time], Batch::Empty);
            order("number 1 of S is ordered at {}", &[time], Batch::Number(1));
            order("number 2 of S is ordered at {}", &[time], Batch::Number(2));
            for born in (1..=latest(rules.births_bounded)).filter(|_| scope.others) {
                let name = "another session, born at {}, is ordered at {}";
                order(name, &[born, time], Batch::Other(born));
            }
        }
    }

    fn violation(&self, state: &State) -> Option<&'static str> {
        if state.executed.contains(&2) {
            return Some(TWICE);
        }
        if state.executed == [0, 1] {
            return Some(ORDER);
        }
        // The horizon follows clocks; where the table overflows, it may be as far as births are.
        let latest = state.clock + DRIFT;
        let latest = if self.scope.others { latest } else { latest.saturating_sub(IDLE) };
        (state.horizon > latest).then_some(AGED)
    }

    fn stuck(&self, state: &State) -> Option<&'static str> {
        let kept = state.born.is_some_and(|born| born > state.horizon);
        (self.scope.pending && kept).then_some(KEPT)
    }
}
