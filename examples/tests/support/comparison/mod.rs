//! The editor's two ways to merge, on the same typing: what gets lost, and what it costs.

mod page;
mod recorded;
mod synthetic;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::json;
use webbft_examples::editor::diffsync::{Edit, Page};
use webbft_examples::editor::rebase::Span;
use webbft_examples::editor::{DiffSync, EditorService, Event, Merge, Rebase, Text};
use webbft_protocol::execution::{Context, Json, Service};
use webbft_protocol::membership::{Cid, ClientId};
use webbft_protocol::time::UnixMicros;

use page::RebasePage;

/// A page's half of a mode.
pub(crate) trait Side: Default {
    type Merge: Merge;

    fn text(&self) -> &Text;
    fn change(&mut self, spans: &[Span]);
    fn send(&mut self, tag: &str) -> Option<Edit>;
    fn refused(&mut self);
    /// The changes of the text on the screen.
    fn accepted(&mut self, event: &Event) -> Vec<Span>;
}

impl Side for Page {
    type Merge = DiffSync;

    fn text(&self) -> &Text {
        self.text()
    }
    fn change(&mut self, spans: &[Span]) {
        self.change(spans).unwrap();
    }
    fn send(&mut self, tag: &str) -> Option<Edit> {
        self.send(tag)
    }
    fn refused(&mut self) {
        self.refused();
    }
    fn accepted(&mut self, event: &Event) -> Vec<Span> {
        self.accepted(event).unwrap()
    }
}

impl Side for RebasePage {
    type Merge = Rebase;

    fn text(&self) -> &Text {
        &self.text
    }
    fn change(&mut self, spans: &[Span]) {
        self.change(spans);
    }
    fn send(&mut self, tag: &str) -> Option<Edit> {
        self.send(tag)
    }
    fn refused(&mut self) {
        panic!("a rebase is never refused");
    }
    fn accepted(&mut self, event: &Event) -> Vec<Span> {
        self.accepted(event)
    }
}

/// What a run comes to. The same in every run, but for the times.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    pub(crate) keystrokes: usize,
    /// Edits that the service accepted, and those that it refused.
    pub(crate) edits: usize,
    pub(crate) refused: usize,
    /// Characters that were typed and not deleted, and are not there in the end; at least.
    pub(crate) lost: usize,
    /// Characters that are there and should not be; at least.
    pub(crate) extra: usize,
    /// Words that were typed and are not there in the end; at least.
    pub(crate) broken: usize,
    /// Of the requests, and of the events that each page gets.
    pub(crate) request_bytes: usize,
    pub(crate) event_bytes: usize,
    pub(crate) replica_time: Duration,
    pub(crate) page_time: Duration,
}

/// A service and its pages, joined by links on which nothing arrives by itself.
pub(crate) struct World<S: Side> {
    service: Json<EditorService<S::Merge>>,
    cid: u64,
    version: u64,
    pub(crate) pages: Vec<S>,
    /// To each page.
    events: Vec<VecDeque<Event>>,
    pub(crate) outcome: Outcome,
}

impl<S: Side> World<S> {
    pub(crate) fn new(pages: usize) -> Self {
        Self {
            service: Json::default(),
            cid: 0,
            version: 0,
            pages: (0..pages).map(|_| S::default()).collect(),
            events: vec![VecDeque::new(); pages],
            outcome: Outcome::default(),
        }
    }

    /// All pages begin with this text, typed by the first; that counts nowhere.
    pub(crate) fn begin(&mut self, text: &str) {
        self.pages[0].change(&[Span::new(0, 0, text)]);
        while let Some(request) = self.send(0) {
            assert!(self.execute(0, &request));
            for page in 0..self.pages.len() {
                self.hear(page);
            }
        }
        self.outcome = Outcome::default();
    }

    pub(crate) fn type_(&mut self, page: usize, spans: &[Span]) {
        self.pages[page].change(spans);
        self.outcome.keystrokes += 1;
    }

    /// What a page has to send, if it may.
    pub(crate) fn send(&mut self, page: usize) -> Option<Vec<u8>> {
        let tag = format!("{page}-{}", self.cid);
        let begin = Instant::now();
        let edit = self.pages[page].send(&tag)?;
        self.outcome.page_time += begin.elapsed();
        let request =
            json!({"op": "edit", "doc": "d", "base": edit.base, "tag": tag, "spans": edit.spans});
        let request = serde_json::to_vec(&request).unwrap();
        self.outcome.request_bytes += request.len();
        Some(request)
    }

    /// Executes a request; whether it was accepted.
    pub(crate) fn execute(&mut self, page: usize, request: &[u8]) -> bool {
        self.cid += 1;
        let mut published = Vec::new();
        let client = ClientId([u8::try_from(page).unwrap(); 16]);
        let (cid, time) = (Cid(self.cid), UnixMicros(self.cid));
        let mut context = Context::new(client, cid, time, [0; 32], &mut published);
        let begin = Instant::now();
        let result = self.service.execute(request, &mut context);
        self.outcome.replica_time += begin.elapsed();
        let Some(event) = published.last() else {
            assert!(result.starts_with(br#"{"error":{"code":"patchFailed""#));
            self.outcome.refused += 1;
            self.pages[page].refused();
            return false;
        };
        self.outcome.edits += 1;
        self.outcome.event_bytes += event.payload.len();
        let event: Event = serde_json::from_slice(&event.payload).unwrap();
        self.version = event.version;
        for link in &mut self.events {
            link.push_back(event.clone());
        }
        true
    }

    pub(crate) fn next_event(&self, page: usize) -> Option<&Event> {
        self.events[page].front()
    }

    /// A page hears of the next event: the changes of its text.
    pub(crate) fn hear(&mut self, page: usize) -> Vec<Span> {
        let Some(event) = self.events[page].pop_front() else { return Vec::new() };
        let begin = Instant::now();
        let changes = self.pages[page].accepted(&event);
        self.outcome.page_time += begin.elapsed();
        changes
    }

    /// The last version.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Everything arrives and is sent; then all pages have the replicas' text. Compares it with a
    /// text of the words that should be there, in any order.
    pub(crate) fn finish(mut self, expected: &str) -> Outcome {
        loop {
            for page in 0..self.pages.len() {
                while self.next_event(page).is_some() {
                    self.hear(page);
                }
            }
            let sent = (0..self.pages.len()).find_map(|page| Some((page, self.send(page)?)));
            let Some((page, request)) = sent else { break };
            assert!(self.execute(page, &request), "an edit of the current version is accepted");
        }
        let answer = self.service.query(br#"{"op":"read","doc":"d"}"#);
        let answer: serde_json::Value = serde_json::from_slice(&answer.result).unwrap();
        let text = answer["ok"]["text"].as_str().unwrap();
        assert!(self.pages.iter().all(|page| page.text().to_string() == text));
        let outcome = &mut self.outcome;
        (outcome.lost, outcome.extra) = differ(expected.chars(), text.chars());
        (outcome.broken, _) = differ(expected.split_whitespace(), text.split_whitespace());
        self.outcome
    }
}

/// How many of `expected` are not in `found`, and the reverse.
fn differ<T: Ord>(
    expected: impl Iterator<Item = T>,
    found: impl Iterator<Item = T>,
) -> (usize, usize) {
    let mut balance: BTreeMap<T, isize> = BTreeMap::new();
    for each in expected {
        *balance.entry(each).or_default() += 1;
    }
    for each in found {
        *balance.entry(each).or_default() -= 1;
    }
    let sum = |sign: isize| balance.values().map(|count| (sign * count).max(0)).sum::<isize>();
    (sum(1).cast_unsigned(), sum(-1).cast_unsigned())
}

/// One workload in both modes.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) rebase: Outcome,
    pub(crate) paper: Outcome,
}

/// All workloads. The times of the shorter ones are the best of `rounds`.
pub(crate) fn compare(rounds: usize) -> Vec<Row> {
    let mut rows = vec![recorded::compare()];
    for writers in [2, 5, 10] {
        let mut row = synthetic::compare(writers);
        for again in (1..rounds).map(|_| synthetic::compare(writers)) {
            row.rebase.faster(&again.rebase);
            row.paper.faster(&again.paper);
        }
        rows.push(row);
    }
    rows
}

impl Outcome {
    fn faster(&mut self, other: &Self) {
        self.replica_time = self.replica_time.min(other.replica_time);
        self.page_time = self.page_time.min(other.page_time);
    }
}

const HEAD: &str = "\
| typing | mode | keystrokes | edits | characters lost | left over | words broken | request bytes | \
event bytes | replica's CPU | pages' CPU |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|
";

/// The lines of the table: the columns that are the same in every run, and the times as multiples
/// of the rebase's.
pub(crate) fn lines(rows: &[Row]) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    for Row { name, rebase, paper } in rows {
        for (mode, outcome) in [("rebase", rebase), ("paper's", paper)] {
            let Outcome { keystrokes, edits, lost, extra, broken, .. } = outcome;
            let per_keystroke = |bytes: usize| (bytes + keystrokes / 2) / keystrokes;
            let [request, event] = [outcome.request_bytes, outcome.event_bytes].map(per_keystroke);
            let same = format!(
                "| {name} | {mode} | {keystrokes} | {edits} | {lost} | {extra} | {broken} | {request} | \
                 {event} |"
            );
            let replica = outcome.replica_time.div_duration_f64(rebase.replica_time);
            let pages = outcome.page_time.div_duration_f64(rebase.page_time);
            lines.push((same, format!(" {replica:.0} | {pages:.0} |")));
        }
    }
    lines
}

/// The whole table.
pub(crate) fn table(rows: &[Row]) -> String {
    let lines = lines(rows).into_iter().map(|(same, times)| format!("{same}{times}\n"));
    HEAD.to_owned() + &lines.collect::<String>()
}

/// Where the table is in docs/editor.md: behind the first, up to the second.
pub(crate) const MARKS: [&str; 2] = ["<!-- comparison -->\n", "<!-- end of comparison -->"];
