//! Rebase and the paper's mode on the same typing: docs/editor.md has what comes of it.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use support::comparison::{MARKS, compare, lines};

#[test]
fn the_table_in_the_documentation_is_current() {
    let rows = compare(1);
    for row in &rows {
        // What ours promises.
        let rebase = &row.rebase;
        assert_eq!((rebase.lost, rebase.extra, rebase.refused), (0, 0, 0), "{}", row.name);
    }
    let documentation = include_str!("../../docs/editor.md");
    let (_, rest) = documentation.split_once(MARKS[0]).unwrap();
    let (table, _) = rest.split_once(MARKS[1]).unwrap();
    let written: Vec<_> = table.lines().skip(2).collect();
    let lines = lines(&rows);
    let current = written.len() == lines.len()
        && written.iter().zip(&lines).all(|(line, (same, _))| line.starts_with(same));
    assert!(
        current,
        "write docs/editor.md anew: cargo run --release -p webbft-examples --example \
         editor_modes -- --write\n{table}\n{lines:#?}"
    );
}
