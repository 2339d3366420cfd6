//! Made-up writers who type words into one text at the same time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use webbft_examples::editor::diffsync::Page;
use webbft_examples::editor::rebase::{Span, utf16_len};

use super::page::RebasePage;
use super::{Outcome, Row, Side, World};

const WORDS: &str = "the of and a to in is you that it he was for on are as with his they at be this \
                     have from or one had by word but not what all were we when your can said there";
/// In milliseconds: between two keystrokes of a writer (paper, 4.2), one way between a page and the
/// replicas, and how long everybody types.
const KEYSTROKE: u64 = 50;
const LATENCY: u64 = 100;
const DURATION: u64 = 20_000;
/// The text that is there before.
const BEFORE: usize = 200;

pub(super) fn compare(writers: usize) -> Row {
    Row {
        name: format!("{writers} writers"),
        rebase: run::<RebasePage>(writers),
        paper: run::<Page>(writers),
    }
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap() % bound
    }
}

/// In the order in which they happen at the same time.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Request(usize, Vec<u8>),
    Event(usize),
    Keystroke(usize),
}

struct Writer {
    random: Random,
    cursor: usize,
    /// What is left of the word that is being typed.
    word: Vec<char>,
    /// The letter in front of the cursor, if this writer has just typed it.
    own: Option<char>,
    /// All words.
    typed: String,
}

impl Writer {
    /// One keystroke, in a text without characters of two code units.
    fn keystroke(&mut self, text: &str) -> Span {
        if let Some(own) = self.own.take()
            && self.random.below(100) < 12
            && text.as_bytes().get(self.cursor.wrapping_sub(1)) == Some(&(own as u8))
        {
            self.word.push(own);
            self.cursor -= 1;
            return Span::new(self.cursor, self.cursor + 1, "");
        }
        if self.word.is_empty() {
            if self.random.below(100) < 20 {
                // Somewhere else, behind a space.
                let at = self.random.below(text.len() + 1);
                self.cursor = text[at..].find(' ').map_or(text.len(), |space| at + space + 1);
            }
            let words: Vec<_> = WORDS.split_whitespace().collect();
            let word = words[self.random.below(words.len())];
            self.typed.extend([word, " "]);
            self.word = [" ", &*word.chars().rev().collect::<String>()].concat().chars().collect();
        }
        let letter = self.word.pop().unwrap();
        self.own = Some(letter);
        self.cursor += 1;
        Span::new(self.cursor - 1, self.cursor - 1, letter)
    }

    /// The text around the cursor changes. What is inserted at the cursor comes behind it.
    fn follow(&mut self, changes: &[Span]) {
        let (mut added, mut removed, cursor) = (0, 0, self.cursor);
        for span in changes.iter().filter(|span| span.from < cursor) {
            added += if span.to <= cursor { utf16_len(&span.insert) } else { 0 };
            removed += span.to.min(cursor) - span.from;
            if span.to >= cursor {
                self.own = None;
            }
        }
        self.cursor = cursor + added - removed;
    }
}

fn run<S: Side>(writers: usize) -> Outcome {
    let mut world = World::<S>::new(writers);
    let mut words = WORDS.split_whitespace().cycle();
    let mut text = String::new();
    while text.len() < BEFORE {
        text.push_str(words.next().unwrap());
        text.push(' ');
    }
    world.begin(&text);
    let mut expected = text;

    let mut typing: Vec<_> = (1..=writers as u64)
        .map(|seed| Writer {
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            cursor: 0,
            word: Vec::new(),
            own: None,
            typed: String::new(),
        })
        .collect();
    let mut queue = BinaryHeap::new();
    for writer in 0..writers {
        let first = KEYSTROKE * writer as u64 / writers as u64;
        queue.push(Reverse((first, Happening::Keystroke(writer))));
    }
    while let Some(Reverse((now, happening))) = queue.pop() {
        let writer = match happening {
            Happening::Request(writer, request) => {
                if world.execute(writer, &request) {
                    for page in 0..writers {
                        queue.push(Reverse((now + LATENCY, Happening::Event(page))));
                    }
                }
                continue;
            }
            Happening::Event(page) => {
                let changes = world.hear(page);
                typing[page].follow(&changes);
                page
            }
            Happening::Keystroke(writer) => {
                let text = world.pages[writer].text().to_string();
                let span = typing[writer].keystroke(&text);
                world.type_(writer, &[span]);
                let writer_done = now >= DURATION && typing[writer].word.is_empty();
                if !writer_done {
                    queue.push(Reverse((now + KEYSTROKE, Happening::Keystroke(writer))));
                }
                writer
            }
        };
        if let Some(request) = world.send(writer) {
            queue.push(Reverse((now + LATENCY, Happening::Request(writer, request))));
        }
    }
    for writer in typing {
        expected.push_str(&writer.typed);
    }
    world.finish(&expected)
}
