//! The editor's rebase and the paper's mode on the same typing: what gets lost, and what it costs.
//!
//! `cargo run --release -p webbft-examples --example editor_modes` prints the table of
//! docs/editor.md; with `-- --write` writes it there.

// A command that prints, and that may end at the first thing that is wrong.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

#[path = "../tests/support/mod.rs"]
mod support;

use support::comparison::{MARKS, compare, table};

const DOCUMENTATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/editor.md");

fn main() {
    let table = table(&compare(20));
    println!("{table}");
    if std::env::args().any(|argument| argument == "--write") {
        let text = std::fs::read_to_string(DOCUMENTATION).unwrap();
        let (before, rest) = text.split_once(MARKS[0]).unwrap();
        let (_, after) = rest.split_once(MARKS[1]).unwrap();
        let text = [before, MARKS[0], &table, MARKS[1], after].concat();
        std::fs::write(DOCUMENTATION, text).unwrap();
    }
}
