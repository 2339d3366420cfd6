//! Recorded editing histories of real people (`data/README.md`), replayed.

#![allow(clippy::unwrap_used, reason = "a test")]

use ropey::Rope;
use serde::Deserialize;

mod support;
use support::Server;
use support::recording::{Concurrent, Patch, Rule, apply, load, replay, span};

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

#[test]
fn two_writers_lower_agent_first_end_at_the_recorded_text() {
    let history: Concurrent = load(include_bytes!("data/friendsforever.json.gz"));
    assert_eq!(history.num_agents, 2);
    let mut patches = 0;
    let text = replay(&history, Rule::LowerAgentFirst, |_| patches += 1);
    assert_eq!((patches, text), (26_078, history.end_content));
}

#[test]
fn two_writers_in_server_order_converge() {
    let history: Concurrent = load(include_bytes!("data/friendsforever.json.gz"));
    // The replicas, who order by acceptance.
    let mut replicas = Server::default();
    let text = replay(&history, Rule::ServerOrder, |typed| {
        let agent = u8::try_from(typed.agent).unwrap();
        let event = replicas.edit(agent, typed.base, "", typed.sent).unwrap();
        assert_eq!(event.spans, typed.accepted);
    });
    assert_eq!(replicas.text(), text);
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
