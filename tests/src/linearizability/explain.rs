//! Why a history is not linearizable, in as few calls as may be.

use std::fmt;

use super::history::Call;
use super::model::{Operation, Value};
use super::search::{Found, Start, ends, find_order, find_order_from};

/// Calls before the ones that matter that are shown all the same.
const CONTEXT: usize = 8;

/// A key whose calls no order explains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The key.
    pub key: String,
    /// How many calls came earlier and have an order, or do not matter.
    pub earlier: usize,
    /// The last of those calls, for the reader.
    pub context: Vec<Call>,
    /// What the key can hold after them.
    pub values: Vec<Value>,
    /// Calls that no order explains from there on: without one of them there would be one.
    pub calls: Vec<Call>,
}

/// Reduces the calls on one key, for which there is no order, to those that matter.
pub(super) fn explain(key: &str, calls: &[&Call], limit: usize) -> Violation {
    let calls = shortest_prefix(calls, limit);
    let (cut, starts) = latest_cut(&calls, limit);
    let begun_before = |call: &&Call| call.ended.is_some_and(|ended| ended < cut);
    let (earlier, later): (Vec<&Call>, Vec<&Call>) = calls.iter().partition(begun_before);
    let later = without_idle(&starts, later, limit);
    let mut values: Vec<Value> = starts.into_iter().map(|start| start.value).collect();
    values.sort();
    values.dedup();
    let mut context: Vec<Call> = earlier.iter().map(|&call| call.clone()).collect();
    context.sort_by_key(|call| call.ended);
    let context = context.split_off(context.len().saturating_sub(CONTEXT));
    let mut shown: Vec<Call> = later.into_iter().cloned().collect();
    shown.sort_by_key(|call| call.invoke);
    Violation { key: key.to_owned(), earlier: earlier.len(), context, values, calls: shown }
}

/// The history up to the end of the call with which it stopped being linearizable: calls that had
/// not ended by then count as unknown.
fn shortest_prefix(calls: &[&Call], limit: usize) -> Vec<Call> {
    let mut ends: Vec<u64> = calls.iter().filter_map(|call| call.ended).collect();
    ends.sort_unstable();
    let prefix = |end: u64| -> Vec<Call> {
        let begun = calls.iter().filter(|call| call.invoke <= end);
        let known = begun.map(|&call| match call.ended {
            Some(ended) if ended > end => Call { ended: None, result: None, ..call.clone() },
            _ => call.clone(),
        });
        known.filter(|call| call.ended.is_some() || !call.operation.only_read(None)).collect()
    };
    let broken = ends.partition_point(|&end| {
        let calls = prefix(end);
        find_order(&calls.iter().collect::<Vec<_>>(), limit) != Found::None
    });
    ends.get(broken)
        .map_or_else(|| calls.iter().map(|&call| call.clone()).collect(), |&end| prefix(end))
}

/// The latest time at which no call was under way (those of unknown outcome aside) and for which
/// it can be said what the key held; and what it held. Time 0 and nothing, if there is no other.
fn latest_cut(calls: &[Call], limit: usize) -> (u64, Vec<Start>) {
    let ended: Vec<(u64, u64)> =
        calls.iter().filter_map(|call| Some((call.invoke, call.ended?))).collect();
    let quiet = |&at: &u64| ended.iter().all(|&(invoke, end)| end < at || invoke >= at);
    let mut cuts: Vec<u64> = ended.iter().map(|&(invoke, _)| invoke).filter(quiet).collect();
    cuts.sort_unstable();
    for cut in cuts.into_iter().rev() {
        let before: Vec<&Call> = calls.iter().filter(|call| call.invoke < cut).collect();
        let after: Vec<&Call> =
            calls.iter().filter(|call| call.ended.is_none_or(|ended| ended >= cut)).collect();
        if let Some(starts) = ends(&before, limit)
            && !starts.is_empty()
            && find_order_from(&starts, &after, limit) == Found::None
        {
            return (cut, starts);
        }
    }
    (0, vec![Start::default()])
}

/// Leaves out calls without which there is still no order: reads, and calls of unknown outcome
/// where all of their kind can go. To leave out a write that ended would blame the reads of it.
fn without_idle<'a>(starts: &[Start], calls: Vec<&'a Call>, limit: usize) -> Vec<&'a Call> {
    let mut kept = calls;
    let unknown: Vec<&Operation> =
        kept.iter().filter(|call| call.ended.is_none()).map(|call| &call.operation).collect();
    for operation in unknown {
        let other = |call: &&&Call| call.ended.is_some() || call.operation != *operation;
        let fewer: Vec<&Call> = kept.iter().filter(other).copied().collect();
        // Without calls of unknown outcome there are fewer orders: what is shown must not depend on
        // that. Only those that could make no difference go.
        let told = fewer.iter().any(|call| mentions(call, operation));
        if !told && find_order_from(starts, &fewer, limit) == Found::None {
            kept = fewer;
        }
    }
    let mut index = 0;
    while index < kept.len() {
        let mut fewer = kept.clone();
        let call = fewer.remove(index);
        let reads = call.ended.is_some() && call.operation.only_read(call.result.as_ref());
        if reads && find_order_from(starts, &fewer, limit) == Found::None {
            kept = fewer;
        } else {
            index += 1;
        }
    }
    kept
}

/// Does a result show the value that a write of unknown outcome would have written?
fn mentions(call: &Call, operation: &Operation) -> bool {
    let (Operation::Put { value, .. } | Operation::Cas { value, .. }) = operation else {
        return true;
    };
    let Some(told) = &call.result else { return true };
    let written = Value::text(value);
    if matches!(&call.operation, Operation::Cas { expect, .. } if *expect == written) {
        return true;
    }
    told.value.as_ref() == Some(&written) || told.previous.as_ref() == Some(&written)
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "key {:?} is not linearizable", self.key)?;
        if self.earlier > 0 {
            writeln!(f, "  after {} earlier calls, the last of which are", self.earlier)?;
            for call in &self.context {
                line(f, call)?;
            }
            let values: Vec<String> = self.values.iter().map(Value::json).collect();
            writeln!(f, "  the key can hold only {}", values.join(" or "))?;
        } else {
            writeln!(f, "  at first the key holds nothing (null)")?;
        }
        writeln!(f, "  no order of these calls explains what their clients were told:")?;
        for call in &self.calls {
            line(f, call)?;
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, call: &Call) -> fmt::Result {
    let seconds = |micros: u64| format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    let ended = call.ended.map_or_else(|| "…".to_owned(), seconds);
    let operation = serde_json::to_value(&call.operation).map_err(|_| fmt::Error)?;
    let text = |field: &str| operation.get(field).map(ToString::to_string).unwrap_or_default();
    let result = match (&call.ended, &call.result) {
        (None, _) => "not known by then".to_owned(),
        (_, None) => "done, result unknown".to_owned(),
        (_, Some(told)) => serde_json::to_string(told).map_err(|_| fmt::Error)?,
    };
    writeln!(
        f,
        "    {:>14} to {:<14} {:<8} {} {} -> {result}",
        seconds(call.invoke),
        ended,
        call.client,
        text("op").trim_matches('"'),
        text("args"),
    )
}
