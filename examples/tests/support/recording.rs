//! A recording of several people who typed at the same time (`data/README.md`).

use std::collections::VecDeque;
use std::io::Read;

use flate2::read::GzDecoder;
use ropey::Rope;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use webbft_examples::editor::rebase::{Span, Tie, rebase};

/// Position and number of characters to remove, both in Unicode code points, and what to insert.
pub(crate) type Patch = (usize, usize, String);

/// Two writers, each of whom sees the other's edits late.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Concurrent {
    pub(crate) end_content: String,
    pub(crate) num_agents: usize,
    pub(crate) txns: Vec<ConcurrentTxn>,
}

/// What one of them did at once, having seen `parents`.
#[derive(Deserialize)]
pub(crate) struct ConcurrentTxn {
    pub(crate) parents: Vec<usize>,
    pub(crate) agent: usize,
    pub(crate) patches: Vec<Patch>,
}

pub(crate) fn load<T: DeserializeOwned>(gzip: &[u8]) -> T {
    let mut json = String::new();
    GzDecoder::new(gzip).read_to_string(&mut json).unwrap();
    serde_json::from_str(&json).unwrap()
}

/// The patch as a span of a text.
pub(crate) fn span(text: &Rope, (position, removed, insert): &Patch) -> Span {
    Span {
        from: text.char_to_utf16_cu(*position),
        to: text.char_to_utf16_cu(position + removed),
        insert: insert.clone(),
    }
}

pub(crate) fn apply(text: &mut Rope, spans: &[Span]) {
    for span in spans.iter().rev() {
        let from = text.utf16_cu_to_char(span.from);
        text.remove(from..text.utf16_cu_to_char(span.to));
        text.insert(from, &span.insert);
    }
}

/// How to order what two writers insert at the same place at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// As the recording did: the lower agent's first.
    LowerAgentFirst,
    /// As the replicas do: the accepted edit's first.
    ServerOrder,
}

impl Rule {
    /// The tie of rebasing `agent`'s edit over `other`'s, of which one is `accepted`.
    fn tie(self, agent: usize, other: usize, other_accepted: bool) -> Tie {
        let first = match self {
            Self::LowerAgentFirst => agent < other,
            Self::ServerOrder => !other_accepted,
        };
        if first { Tie::IncomingFirst } else { Tie::AcceptedFirst }
    }
}

/// A writer, who sees the other's edits late.
#[derive(Default)]
struct Writer {
    text: Rope,
    /// Edits of the other, by the version that they made, that are accepted but not seen yet;
    /// restated for `text` and all of them before.
    unseen: VecDeque<(u64, Vec<Span>)>,
    /// The latest version that this writer knows to be in `text`, or made.
    base: u64,
}

impl Writer {
    /// Sees the other's edits up to `version`.
    fn see(&mut self, version: u64) {
        while let Some((seen, _)) = self.unseen.front()
            && *seen <= version
            && let Some((seen, spans)) = self.unseen.pop_front()
        {
            apply(&mut self.text, &spans);
            self.base = self.base.max(seen);
        }
    }
}

/// A patch that somebody typed.
pub(crate) struct Typed<'a> {
    pub(crate) agent: usize,
    /// How many of all patches, from the first, this agent knew of; and all of its own.
    pub(crate) seen: u64,
    /// The text in front of the agent.
    pub(crate) before: &'a Rope,
    pub(crate) patch: &'a Patch,
    /// The patch as an edit of the latest version that has all patches in it which the agent knew
    /// of; and as it was accepted.
    pub(crate) base: u64,
    pub(crate) sent: &'a [Span],
    pub(crate) accepted: &'a [Span],
}

/// Replays what two writers typed, each seeing what the recording says that it saw. The edits are
/// accepted in the order of the recording. Returns the text after checking that both writers come
/// to it.
pub(crate) fn replay(
    history: &Concurrent,
    rule: Rule,
    mut observe: impl FnMut(Typed<'_>),
) -> String {
    let mut writers = [Writer::default(), Writer::default()];
    let mut log: Vec<(usize, Vec<Span>)> = Vec::new();
    let mut text = Rope::new();
    // The last version that each transaction made.
    let mut made: Vec<u64> = Vec::new();
    let mut seen = [0; 2];

    for txn in &history.txns {
        let (agent, other) = (txn.agent, 1 - txn.agent);
        for &parent in &txn.parents {
            if history.txns[parent].agent == other {
                writers[agent].see(made[parent]);
                seen[agent] = made[parent].max(seen[agent]);
            }
        }
        for patch in &txn.patches {
            let writer = &mut writers[agent];
            let before = writer.text.clone();
            let local = vec![span(&before, patch)];
            apply(&mut writer.text, &local);

            // The writer restates the edit for the latest version that has its own edits in it,
            // and the unseen edits for its text with this edit in it.
            let (base, mut sent, mut restated) = (writer.base, local.clone(), local);
            for (version, spans) in &mut writer.unseen {
                let over = rebase(restated.clone(), spans, rule.tie(agent, other, true));
                *spans = rebase(std::mem::take(spans), &restated, rule.tie(other, agent, false));
                restated = over;
                if *version <= base {
                    sent.clone_from(&restated);
                }
            }

            // The server restates it for the head, and both came to the same.
            let accepted = log[usize::try_from(base).unwrap()..].iter().fold(
                sent.clone(),
                |edit, (author, spans)| {
                    assert_eq!(*author, other);
                    rebase(edit, spans, rule.tie(agent, other, true))
                },
            );
            assert_eq!(accepted, restated);
            let (sent, accepted, seen) = (&sent, &accepted, seen[agent]);
            observe(Typed { agent, seen, before: &before, patch, base, sent, accepted });
            apply(&mut text, accepted);
            log.push((agent, accepted.clone()));
            let version = log.len() as u64;
            writers[agent].base = version;
            writers[other].unseen.push_back((version, accepted.clone()));
        }
        made.push(log.len() as u64);
    }

    let text = text.to_string();
    for mut writer in writers {
        writer.see(u64::MAX);
        assert!(writer.text == text, "a writer's text differs from the server's");
    }
    text
}
