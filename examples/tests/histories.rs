//! Recorded editing histories of real people (`data/README.md`), replayed.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::VecDeque;
use std::io::Read;

use flate2::read::GzDecoder;
use ropey::Rope;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use webbft_examples::editor::rebase::{Span, Tie, rebase};

mod support;
use support::Server;

/// Position and number of characters to remove, both in Unicode code points, and what to insert.
type Patch = (usize, usize, String);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sequential {
    start_content: String,
    end_content: String,
    txns: Vec<SequentialTxn>,
}

#[derive(Deserialize)]
struct SequentialTxn {
    patches: Vec<Patch>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Concurrent {
    end_content: String,
    num_agents: usize,
    txns: Vec<ConcurrentTxn>,
}

#[derive(Deserialize)]
struct ConcurrentTxn {
    parents: Vec<usize>,
    agent: usize,
    patches: Vec<Patch>,
}

fn load<T: DeserializeOwned>(gzip: &[u8]) -> T {
    let mut json = String::new();
    GzDecoder::new(gzip).read_to_string(&mut json).unwrap();
    serde_json::from_str(&json).unwrap()
}

/// The patch as a span of a text.
fn span(text: &Rope, (position, removed, insert): &Patch) -> Span {
    Span {
        from: text.char_to_utf16_cu(*position),
        to: text.char_to_utf16_cu(position + removed),
        insert: insert.clone(),
    }
}

fn apply(text: &mut Rope, spans: &[Span]) {
    for span in spans.iter().rev() {
        let from = text.utf16_cu_to_char(span.from);
        text.remove(from..text.utf16_cu_to_char(span.to));
        text.insert(from, &span.insert);
    }
}

#[test]
fn one_writer_ends_at_the_recorded_text() {
    let history: Sequential = load(include_bytes!("data/sveltecomponent.json.gz"));
    assert_eq!(history.start_content, "");
    let (mut server, mut text) = (Server::default(), Rope::new());
    let mut version = 0;
    for patch in history.txns.iter().flat_map(|txn| &txn.patches) {
        let spans = vec![span(&text, patch)];
        apply(&mut text, &spans);
        version = server.edit(0, version, "", &spans).unwrap().version;
    }
    assert_eq!(version, 19_749);
    assert_eq!(server.text(), history.end_content);
}

/// How to order what two writers insert at the same place at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
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

/// Replays what two writers typed, each seeing what the recording says that it saw. The edits are
/// accepted in the order of the recording. Returns the server's text after checking that both
/// writers have it, too.
fn replay(history: &Concurrent, rule: Rule) -> String {
    let mut writers = [Writer::default(), Writer::default()];
    // The replicas, who order by acceptance; and the same for either rule.
    let mut replicas = Server::default();
    let mut log: Vec<(usize, Vec<Span>)> = Vec::new();
    let mut text = Rope::new();
    // The last version that each transaction made.
    let mut made: Vec<u64> = Vec::new();

    for txn in &history.txns {
        let (agent, other) = (txn.agent, 1 - txn.agent);
        for &parent in &txn.parents {
            if history.txns[parent].agent == other {
                writers[agent].see(made[parent]);
            }
        }
        for patch in &txn.patches {
            let writer = &mut writers[agent];
            let local = vec![span(&writer.text, patch)];
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
            if rule == Rule::ServerOrder {
                assert_eq!(
                    replicas.edit(u8::try_from(agent).unwrap(), base, "", &sent).unwrap().spans,
                    accepted
                );
            }
            apply(&mut text, &accepted);
            log.push((agent, accepted.clone()));
            let version = log.len() as u64;
            writers[agent].base = version;
            writers[other].unseen.push_back((version, accepted));
        }
        made.push(log.len() as u64);
    }

    let text = text.to_string();
    for mut writer in writers {
        writer.see(u64::MAX);
        assert!(writer.text == text, "a writer's text differs from the server's");
    }
    if rule == Rule::ServerOrder {
        assert_eq!(replicas.text(), text);
    }
    assert_eq!(log.len(), 26_078);
    text
}

#[test]
fn two_writers_lower_agent_first_end_at_the_recorded_text() {
    let history: Concurrent = load(include_bytes!("data/friendsforever.json.gz"));
    assert_eq!(history.num_agents, 2);
    assert_eq!(replay(&history, Rule::LowerAgentFirst), history.end_content);
}

#[test]
fn two_writers_in_server_order_converge() {
    let history: Concurrent = load(include_bytes!("data/friendsforever.json.gz"));
    let text = replay(&history, Rule::ServerOrder);
    // The same characters as in the recording; a few that were typed at the same place at the
    // same time are in another order.
    let sorted = |text: &str| {
        let mut chars: Vec<_> = text.chars().collect();
        chars.sort_unstable();
        chars
    };
    assert_eq!(sorted(&text), sorted(&history.end_content));
    assert_ne!(text, history.end_content);
}
