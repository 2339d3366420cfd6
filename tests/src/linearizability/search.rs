//! The search for an order: Wing and Gong's, with Lowe's memory of the positions already visited.
//!
//! A position says which calls have taken effect and what the key holds. From it, a call can be
//! next if no other call that has not yet taken effect had ended before it began. Five rules keep
//! the search short without losing an order:
//!
//! - a position is visited once;
//! - what only reads, and fits, goes first without an alternative: it constrains nothing;
//! - calls of unknown outcome are tried last, and not at all where they change nothing;
//! - where values only grow, a position is hopeless once the value is too large for a call to come;
//! - of equal calls of unknown outcome, the one that began first goes first.

use std::collections::{HashMap, HashSet};

use super::history::Call;
use super::model::{Operation, Value};

/// What a search came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// There is an order.
    Order,
    /// There is none.
    None,
    /// Too many positions.
    GaveUp,
}

/// Where a search begins or ends: what the key holds, and how many calls of unknown outcome of
/// each kind have taken effect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Start {
    pub(super) value: Value,
    used: Vec<(Operation, usize)>,
}

impl Default for Start {
    fn default() -> Self {
        Self { value: Value::Absent, used: Vec::new() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Position {
    /// All ended calls before this one have taken effect.
    base: usize,
    /// Those after it that have, too, in ascending order.
    ahead: Vec<usize>,
    /// How many of each kind of call of unknown outcome have.
    used: Vec<usize>,
    value: Value,
}

/// Calls of unknown outcome that ask for the same.
struct Kind<'a> {
    operation: &'a Operation,
    /// When they began, ascending.
    begun: Vec<u64>,
}

struct Search<'a> {
    /// Calls that ended, in order of their beginning.
    ended: Vec<(&'a Call, u64)>,
    kinds: Vec<Kind<'a>>,
    /// Can values only grow?
    grows: bool,
}

/// Is there an order of the calls, all on one key that held nothing before, that explains all
/// results and respects that what had ended before another began comes first?
#[must_use]
pub fn find_order(calls: &[&Call], limit: usize) -> Found {
    find_order_from(&[Start::default()], calls, limit)
}

/// The same, from any of these starts.
pub(super) fn find_order_from(starts: &[Start], calls: &[&Call], limit: usize) -> Found {
    let mut found = Found::None;
    let complete = Search::of(calls, starts).run(starts, limit, |_| {
        found = Found::Order;
        false
    });
    if complete || found == Found::Order { found } else { Found::GaveUp }
}

/// All ways in which the calls can have left the key; `None` where there are too many positions.
pub(super) fn ends(calls: &[&Call], limit: usize) -> Option<Vec<Start>> {
    let search = Search::of(calls, &[]);
    let mut ends = HashSet::new();
    let complete = search.run(&[Start::default()], limit, |position| {
        let kinds = search.kinds.iter().zip(&position.used);
        let used = kinds.filter(|(_, used)| **used > 0);
        let used = used.map(|(kind, used)| (kind.operation.clone(), *used)).collect();
        ends.insert(Start { value: position.value.clone(), used });
        true
    });
    complete.then(|| ends.into_iter().collect())
}

impl<'a> Search<'a> {
    fn of(calls: &[&'a Call], starts: &'a [Start]) -> Self {
        let mut ended: Vec<(&Call, u64)> =
            calls.iter().filter_map(|call| Some((*call, call.ended?))).collect();
        ended.sort_by_key(|(call, ended)| (call.invoke, *ended));
        let mut begun: HashMap<&Operation, Vec<u64>> = HashMap::new();
        for call in calls.iter().filter(|call| call.ended.is_none()) {
            if !call.operation.only_read(None) {
                begun.entry(&call.operation).or_default().push(call.invoke);
            }
        }
        // What was used up before this history began counts, even if no call of it is in here.
        for (operation, _) in starts.iter().flat_map(|start| &start.used) {
            begun.entry(operation).or_default();
        }
        let mut kinds: Vec<Kind<'_>> = begun
            .into_iter()
            .map(|(operation, mut begun)| {
                begun.sort_unstable();
                Kind { operation, begun }
            })
            .collect();
        kinds.sort_by_key(|kind| (kind.begun.first().copied(), kind.operation));
        let grows = calls.iter().all(|call| call.operation.grows());
        Self { ended, kinds, grows }
    }

    /// Gives every position in which all ended calls have taken effect to `reached`, until that
    /// says no more. `false` where it was stopped by that or by the limit.
    fn run(
        &self,
        starts: &[Start],
        limit: usize,
        mut reached: impl FnMut(&Position) -> bool,
    ) -> bool {
        let mut visited = HashSet::new();
        let mut stack: Vec<Position> = starts.iter().map(|start| self.position(start)).collect();
        while let Some(mut position) = stack.pop() {
            let (open, until) = self.read_all(&mut position);
            if position.base == self.ended.len() {
                if !reached(&position) {
                    return false;
                }
                continue;
            }
            if visited.contains(&position) || self.is_hopeless(&position, &open) {
                continue;
            }
            if visited.len() == limit {
                return false;
            }
            // The last pushed is tried first.
            for (kind, &used) in position.used.iter().enumerate() {
                let Kind { operation, begun } = &self.kinds[kind];
                if begun.get(used).is_some_and(|&begun| begun <= until)
                    && let Some(value) = operation.apply(&position.value, None)
                    && value != position.value
                {
                    let mut next = position.clone();
                    next.used[kind] += 1;
                    next.value = value;
                    stack.push(next);
                }
            }
            let first = stack.len();
            for index in open {
                let call = self.ended[index].0;
                let value = call.operation.apply(&position.value, call.result.as_ref());
                if let Some(value) = value {
                    let mut next = position.clone();
                    next.take(index);
                    next.value = value;
                    stack.push(next);
                }
            }
            // In `open` they are in order of their ends: the first to end is tried first.
            stack[first..].reverse();
            visited.insert(position);
        }
        true
    }

    fn is_hopeless(&self, position: &Position, open: &[usize]) -> bool {
        let size = position.value.size();
        let missed = |&index: &usize| {
            let call = self.ended[index].0;
            call.operation.size_before(call.result.as_ref()).is_some_and(|before| before < size)
        };
        self.grows && open.iter().any(missed)
    }

    fn position(&self, start: &Start) -> Position {
        let used = |kind: &Kind<'_>| {
            let mut known = start.used.iter().filter(|(operation, _)| operation == kind.operation);
            known.next().map_or(0, |(_, used)| *used)
        };
        Position {
            base: 0,
            ahead: Vec::new(),
            used: self.kinds.iter().map(used).collect(),
            value: start.value.clone(),
        }
    }

    /// Lets all take effect that can be next, fits and only reads. Gives the calls that can be next
    /// then, in order of their ends, and the end of the first of them.
    fn read_all(&self, position: &mut Position) -> (Vec<usize>, u64) {
        'again: loop {
            let (open, until) = self.open(position);
            for &index in &open {
                let call = self.ended[index].0;
                let told = call.result.as_ref();
                if call.operation.only_read(told)
                    && call.operation.apply(&position.value, told).is_some()
                {
                    position.take(index);
                    continue 'again;
                }
            }
            return (open, until);
        }
    }

    fn open(&self, position: &Position) -> (Vec<usize>, u64) {
        let mut until = u64::MAX;
        let mut open = Vec::new();
        let mut ahead = position.ahead.iter().peekable();
        for (index, (call, ended)) in self.ended.iter().enumerate().skip(position.base) {
            if call.invoke > until {
                break;
            }
            if ahead.next_if(|&&done| done == index).is_none() {
                open.push(index);
                until = until.min(*ended);
            }
        }
        open.retain(|&index| self.ended[index].0.invoke <= until);
        open.sort_by_key(|&index| self.ended[index].1);
        (open, until)
    }
}

impl Position {
    fn take(&mut self, index: usize) {
        if index > self.base {
            let at = self.ahead.partition_point(|&other| other < index);
            self.ahead.insert(at, index);
            return;
        }
        self.base += 1;
        let run = self.ahead.iter().zip(self.base..).take_while(|(done, next)| *done == next);
        let run = run.count();
        self.ahead.drain(..run);
        self.base += run;
    }
}
