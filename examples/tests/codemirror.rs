//! The rebase rule against CodeMirror's: cases written by `codemirror/generate.mjs`.

use webbft_examples::editor::rebase::{Span, Tie, rebase};

type Edit = Vec<(usize, usize, String)>;

fn spans(edit: Edit) -> Vec<Span> {
    edit.into_iter().map(|(from, to, insert)| Span { from, to, insert }).collect()
}

#[test]
fn rebase_is_change_set_map() {
    let cases = include_str!("vectors/codemirror-map.jsonl");
    let mut count = 0;
    for line in cases.lines() {
        let (_length, incoming, accepted, before, mapped): (usize, Edit, Edit, u8, Edit) =
            serde_json::from_str(line).unwrap();
        let tie = if before == 1 { Tie::IncomingFirst } else { Tie::AcceptedFirst };
        assert_eq!(rebase(spans(incoming), &spans(accepted), tie), spans(mapped), "{line}");
        count += 1;
    }
    assert_eq!(count, 5000);
}
