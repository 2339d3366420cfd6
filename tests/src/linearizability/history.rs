//! Histories as JSON lines, one call a line:
//!
//! ```json
//! {"client":"c1","op":"put","args":{"key":"a","value":"1"},"invoke":10,"return":25,"result":{"previous":null}}
//! ```
//!
//! `invoke` and `return` are microseconds on one clock. Where `return` is `null` the outcome is
//! unknown: the operation may have taken effect at any time since `invoke`, may still, or never
//! will. Where only `result` is `null` it took effect in between, with a result that nobody saw.
//! Operations that are known never to take effect are left out. A file may hold several runs,
//! told apart by `seed`; each begins with an empty store.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use super::model::{Observed, Operation};

/// One call of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The run, in files that hold several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Who called.
    pub client: String,
    /// What for.
    #[serde(flatten)]
    pub operation: Operation,
    /// When the call began, in microseconds.
    pub invoke: u64,
    /// When it ended, in microseconds; `None` where the outcome is unknown.
    #[serde(rename = "return")]
    pub ended: Option<u64>,
    /// What the client was told.
    pub result: Option<Observed>,
}

/// Why a history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file cannot be read.
    #[error("the history cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A line is not a call.
    #[error(
        "line {line} is not a call: {source}; expected {{client, op, args, invoke, return, result}}"
    )]
    Syntax {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A call makes no sense.
    #[error("line {line}: {what}")]
    Invalid {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Reads a history; gives the calls of each run. Empty lines are skipped.
///
/// # Errors
/// Where the file cannot be read, or a line is not a call that makes sense.
pub fn read(input: impl BufRead) -> Result<BTreeMap<Option<u64>, Vec<Call>>, HistoryError> {
    let mut runs: BTreeMap<_, Vec<Call>> = BTreeMap::new();
    for (index, text) in input.lines().enumerate() {
        let (line, text) = (index + 1, text?);
        if text.trim().is_empty() {
            continue;
        }
        let call: Call =
            serde_json::from_str(&text).map_err(|source| HistoryError::Syntax { line, source })?;
        if call.ended.is_some_and(|ended| ended < call.invoke) {
            return Err(HistoryError::Invalid { line, what: "the call returns before it begins" });
        }
        if call.ended.is_none() && call.result.is_some() {
            let what = "a call that never returned has no result";
            return Err(HistoryError::Invalid { line, what });
        }
        runs.entry(call.seed).or_default().push(call);
    }
    Ok(runs)
}

/// Writes calls as JSON lines.
///
/// # Errors
/// Where the output cannot be written.
pub fn write<'a>(
    output: &mut impl Write,
    calls: impl IntoIterator<Item = &'a Call>,
) -> io::Result<()> {
    for call in calls {
        serde_json::to_writer(&mut *output, call)?;
        output.write_all(b"\n")?;
    }
    Ok(())
}
