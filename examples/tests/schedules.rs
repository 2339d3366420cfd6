//! Several clients edit at the same time, with any delays: all come to the replicas' text.
//!
//! A client is modelled as the web page works: local edits show at once; one is in flight at a
//! time; those behind it wait, and all are mapped through the edits that others got accepted.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::VecDeque;

use proptest::collection::vec;
use proptest::prelude::*;
use webbft_examples::editor::rebase::{Span, Tie, rebase};
use webbft_examples::editor::{Editor, Event, Text};
use webbft_protocol::execution::JsonService;

mod support;
use support::Server;

const CLIENTS: usize = 4;
const INSERTS: [&str; 6] = ["", "a", "bc", "😀", "\r\n", "é😀"];

/// A request under way: base, tag, spans.
type Request = (u64, String, Vec<Span>);

struct Client {
    /// What the page shows: `version`, and all of `unconfirmed`.
    text: Text,
    version: u64,
    /// The edits that have not come back yet, each an edit of the text after those before it.
    unconfirmed: VecDeque<Vec<Span>>,
    /// The tag of the first of these, once it is sent.
    in_flight: Option<String>,
    sent: usize,
    /// The links: to the replicas, and back.
    requests: VecDeque<Request>,
    events: VecDeque<Event>,
}

impl Client {
    fn new() -> Self {
        Self {
            text: Text::default(),
            version: 0,
            unconfirmed: VecDeque::new(),
            in_flight: None,
            sent: 0,
            requests: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    fn type_(&mut self, spans: Vec<Span>) {
        self.text.apply(&spans).unwrap();
        self.unconfirmed.push_back(spans);
    }

    fn send(&mut self) {
        if self.in_flight.is_none()
            && let Some(spans) = self.unconfirmed.front()
        {
            let tag = format!("edit {}", self.sent);
            self.sent += 1;
            self.requests.push_back((self.version, tag.clone(), spans.clone()));
            self.in_flight = Some(tag);
        }
    }

    fn receive(&mut self, own: u8) {
        let Some(event) = self.events.pop_front() else { return };
        self.version += 1;
        assert_eq!(event.version, self.version);
        if event.author.0 == [own; 16] {
            // The replicas rebased it to exactly what this client did.
            assert_eq!(self.in_flight.take(), Some(event.tag));
            assert_eq!(self.unconfirmed.pop_front(), Some(event.spans));
            return;
        }
        let mut remote = event.spans;
        for local in &mut self.unconfirmed {
            let mapped = rebase(local.clone(), &remote, Tie::AcceptedFirst);
            remote = rebase(remote, local, Tie::IncomingFirst);
            *local = mapped;
        }
        self.text.apply(&remote).unwrap();
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Somebody types; the numbers choose where.
    Type(Vec<(u16, u16, usize)>),
    /// A client sends its next edit.
    Send,
    /// The replicas execute a client's next request.
    Execute,
    /// A client receives its next event.
    Receive,
    /// The replicas are restored from a snapshot.
    Restore,
}

fn step() -> impl Strategy<Value = (usize, Step)> {
    let typed = vec((any::<u16>(), 0..4u16, 0..INSERTS.len()), 1..4).prop_map(Step::Type);
    let step = prop_oneof![
        4 => typed,
        3 => Just(Step::Send),
        3 => Just(Step::Execute),
        5 => Just(Step::Receive),
        1 => Just(Step::Restore),
    ];
    (0..CLIENTS, step)
}

/// An edit of `text` as the numbers say: moved off the middle of characters, and put in order.
fn spans(text: &Text, choices: &[(u16, u16, usize)]) -> Vec<Span> {
    let text = text.to_string();
    let mut boundaries = vec![0];
    for char in text.chars() {
        boundaries.push(boundaries[boundaries.len() - 1] + char.len_utf16());
    }
    let last = boundaries.len() - 1;
    let mut choices: Vec<_> = choices
        .iter()
        .map(|&(at, length, insert)| (usize::from(at) % (last + 1), usize::from(length), insert))
        .collect();
    choices.sort_unstable();
    let mut done = 0;
    let each = choices.into_iter().map(|(at, length, insert)| {
        let from = at.max(done);
        done = (from + length).min(last);
        Span::new(boundaries[from], boundaries[done], INSERTS[insert])
    });
    webbft_examples::editor::rebase::normalise(each.collect())
}

fn execute(server: &mut Server, clients: &mut [Client], author: usize) {
    if let Some((base, tag, spans)) = clients[author].requests.pop_front() {
        let event =
            server.edit(u8::try_from(author).unwrap(), base, &tag, &spans).expect("a right edit");
        for client in clients {
            client.events.push_back(event.clone());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_clients_come_to_the_replicas_text(schedule in vec(step(), 1..300)) {
        let mut server = Server::default();
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::new()).collect();
        for (index, step) in schedule {
            let client = &mut clients[index];
            match step {
                Step::Type(choices) => {
                    let edit = spans(&client.text, &choices);
                    client.type_(edit);
                }
                Step::Send => client.send(),
                Step::Execute => execute(&mut server, &mut clients, index),
                Step::Receive => client.receive(u8::try_from(index).unwrap()),
                Step::Restore => {
                    let snapshot = server.editor.0.snapshot();
                    let restored = Editor::restore(&snapshot).unwrap();
                    prop_assert_eq!(&restored, &server.editor.0);
                    prop_assert_eq!(restored.snapshot(), snapshot);
                    server.editor.0 = restored;
                }
            }
        }
        // Then everything arrives.
        while clients.iter().any(|client| !client.unconfirmed.is_empty()) {
            for index in 0..CLIENTS {
                clients[index].send();
                execute(&mut server, &mut clients, index);
                while !clients[index].events.is_empty() {
                    clients[index].receive(u8::try_from(index).unwrap());
                }
            }
        }
        for (index, client) in clients.iter_mut().enumerate() {
            while !client.events.is_empty() {
                client.receive(u8::try_from(index).unwrap());
            }
            prop_assert_eq!(client.text.to_string(), server.text());
        }
    }
}
