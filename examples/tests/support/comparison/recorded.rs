//! Two people who typed at the same time, with a second of latency (`data/README.md`).

use ropey::Rope;
use webbft_examples::editor::diffsync::Page;
use webbft_examples::editor::rebase::Span;

use super::super::recording::{Concurrent, Rule, Typed, apply, load, replay};
use super::page::RebasePage;
use super::{Row, Side, World};

/// How much of the text on each side of a place tells it, in characters.
const CONTEXT: usize = 12;
/// How far from where it should be it is looked for.
const REACH: usize = 200;

pub(super) fn compare() -> Row {
    let history: Concurrent = load(include_bytes!("../../data/friendsforever.json.gz"));
    let (mut rebase, mut paper) = (People::<RebasePage>::new(), People::<Page>::new());
    replay(&history, Rule::LowerAgentFirst, |typed| {
        rebase.types(&typed);
        paper.types(&typed);
    });
    let expected = &history.end_content;
    Row {
        name: "friendsforever".to_owned(),
        rebase: rebase.world.finish(expected),
        paper: paper.world.finish(expected),
    }
}

/// The two of them in one mode.
struct People<S: Side> {
    world: World<S>,
    /// The texts on the screens.
    screens: [Rope; 2],
    /// For each patch of the recording, the version with which it was accepted.
    versions: Vec<Option<u64>>,
    /// The patches that a page has not sent, and those that are on their way.
    unsent: [Vec<usize>; 2],
    sent: [Vec<usize>; 2],
    /// How far from the recording's a page's places are now.
    drift: [isize; 2],
}

impl<S: Side> People<S> {
    fn new() -> Self {
        Self {
            world: World::new(2),
            screens: Default::default(),
            versions: Vec::new(),
            unsent: Default::default(),
            sent: Default::default(),
            drift: [0; 2],
        }
    }

    fn types(&mut self, typed: &Typed<'_>) {
        let (agent, other) = (typed.agent, 1 - typed.agent);
        // The recording says what the page had heard of.
        if let Some(last) = usize::try_from(typed.seen).unwrap().checked_sub(1) {
            // The other may not have sent it yet, because the event of its last edit is behind one
            // that it had not heard of in the recording; or never, because it took it back.
            if self.versions[last].is_none() {
                self.hear(other, self.world.version());
                self.send(other);
                let version = self.world.version();
                for patch in self.unsent[other].drain(..) {
                    self.versions[patch] = Some(version);
                }
            }
            self.hear(agent, self.versions[last].unwrap());
        }
        let span = self.place(typed);
        self.versions.push(None);
        self.unsent[agent].push(self.versions.len() - 1);
        self.world.type_(agent, &span);
        apply(&mut self.screens[agent], &span);
        self.send(agent);
    }

    fn send(&mut self, agent: usize) {
        while let Some(request) = self.world.send(agent) {
            self.sent[agent].append(&mut self.unsent[agent]);
            if !self.world.execute(agent, &request) {
                return;
            }
            let version = Some(self.world.version());
            for patch in self.sent[agent].drain(..) {
                self.versions[patch] = version;
            }
            self.hear(agent, 0);
        }
    }

    /// Hears of everything up to `version`, and of its own edits up to the next of the other's.
    fn hear(&mut self, agent: usize, version: u64) {
        while let Some(event) = self.world.next_event(agent) {
            if event.version > version && event.author.0 != [u8::try_from(agent).unwrap(); 16] {
                break;
            }
            let changes = self.world.hear(agent);
            apply(&mut self.screens[agent], &changes);
        }
    }

    /// What the person does to the text in front of him: he looks for the place, and removes there
    /// what the recording says that he removed, if he finds it.
    fn place(&mut self, typed: &Typed<'_>) -> Vec<Span> {
        let (position, removed, insert) = typed.patch;
        let screen = &self.screens[typed.agent];
        let recorded = |from: usize, to: usize| -> Vec<char> {
            typed.before.slice(from..to.min(typed.before.len_chars())).chars().collect()
        };
        let before = recorded(position.saturating_sub(CONTEXT), *position);
        let after = recorded(*position, position + removed.max(&CONTEXT));
        let expected = position.saturating_add_signed(self.drift[typed.agent]);
        let (at, found) = locate(screen, &before, &after, *removed, expected);
        self.drift[typed.agent] = at.cast_signed() - position.cast_signed();
        let to = if found { at + removed } else { at };
        let [from, to] = [at, to].map(|at| screen.char_to_utf16_cu(at));
        vec![Span::new(from, to, insert.as_str())]
    }
}

/// The place on the screen that has most of `before` in front of it and of `after`, of which the
/// first `removed` are to be removed, behind it; and whether these are there.
fn locate(
    screen: &Rope,
    before: &[char],
    after: &[char],
    removed: usize,
    expected: usize,
) -> (usize, bool) {
    let length = screen.len_chars();
    let expected = expected.min(length);
    let begin = expected.saturating_sub(REACH + before.len());
    let end = (expected + REACH + after.len()).min(length);
    let here = expected - begin;
    let alike = |text: &[char], at: usize| {
        let front = text[..at].iter().rev().zip(before.iter().rev());
        let behind = text[at..].iter().zip(after).take_while(|(a, b)| a == b).count();
        let alike = front.take_while(|(a, b)| a == b).count() + behind;
        (alike, behind >= removed)
    };
    let near = expected.saturating_sub(before.len())..(expected + after.len()).min(length);
    let text: Vec<char> = screen.slice(near.clone()).chars().collect();
    let (score, found) = alike(&text, expected - near.start);
    if score == before.len() + after.len() {
        return (expected, found);
    }
    let text: Vec<char> = screen.slice(begin..end).chars().collect();
    let first = expected.saturating_sub(REACH) - begin;
    let last = (expected + REACH).min(length) - begin;
    let best = (first..=last)
        .map(|at| (alike(&text, at), at))
        .max_by_key(|((score, found), at)| (*found, *score, std::cmp::Reverse(at.abs_diff(here))));
    best.map_or((expected, found), |((_, found), at)| (begin + at, found))
}
