//! Differences, patches, the page's half, and the service in this mode.

use proptest::collection::vec;
use proptest::prelude::*;
use webbft_protocol::execution::{Json, JsonService};

use super::super::document::Event;
use super::super::rebase::{Span, check, utf16_len};
use super::super::service::{DiffSyncEditor, Editor};
use super::super::text::Text;
use super::*;
use crate::testing::{Ran, run};

fn applied(text: &str, spans: &[Span]) -> String {
    let mut text = Text::from(text);
    text.apply(spans).unwrap();
    text.to_string()
}

#[test]
fn differences_are_spans_of_whole_characters() {
    for (old, new, spans) in [
        ("", "", vec![]),
        ("same", "same", vec![]),
        ("", "a😀", vec![Span::new(0, 0, "a😀")]),
        ("a😀", "", vec![Span::new(0, 3, "")]),
        ("😀 and 😁!", "😀 and 😂!", vec![Span::new(7, 9, "😂")]),
        (
            "the cat sat",
            "a cat sits",
            vec![Span::new(0, 3, "a"), Span::new(9, 10, "i"), Span::new(11, 11, "s")],
        ),
    ] {
        assert_eq!(difference(old, new), spans, "{old:?} {new:?}");
    }
}

#[test]
fn a_patch_goes_where_it_seems_to_fit() {
    let base = "The quick brown fox jumps over the lazy dog.";
    let edit = [Span::new(16, 19, "cat"), Span::new(44, 44, " 😀")];
    assert_eq!(patch(base, &edit, base).unwrap(), applied(base, &edit));
    // The words stand elsewhere, and differ.
    let onto = "😀 Once more: the quick brwn fox jumped over the lazy dog.";
    let patched = "😀 Once more: the quick brwn cat jumped over the lazy dog. 😀";
    assert_eq!(patch(base, &edit, onto).unwrap(), patched);
    // Nothing fits: the edit is dropped, and nobody is told.
    assert_eq!(patch(base, &edit[..1], "0123456789").unwrap(), "0123456789");
    // It fits best in the wrong word.
    let twice = patch("one\ntwo\n", &[Span::new(0, 3, "1")], "none\none\n").unwrap();
    assert_eq!(twice, "n1\none\n");
}

#[test]
fn what_cannot_be_patched_is_told() {
    let long = "x".repeat(MAX_CHANGE);
    let two = "ab".repeat(MAX_SPANS + 1);
    let many: Vec<_> = (0..=MAX_SPANS).map(|at| Span::new(2 * at, 2 * at + 1, "")).collect();
    for (base, edit, error) in [
        ("a", vec![Span::new(0, 1, long.clone())], PatchError::TooLarge),
        (&two, many, PatchError::TooLarge),
        ("a😀", vec![Span::new(2, 2, "x")], PatchError::SplitsSurrogate { at: 2 }),
        ("a😀", vec![Span::new(0, 4, "")], PatchError::SplitsSurrogate { at: 4 }),
    ] {
        assert_eq!(patch(base, &edit, base), Err(error));
    }
    assert_eq!(patch("a", &[Span::new(1, 1, long.clone())], "a"), Ok(format!("a{long}")));
    // The library's own failure.
    assert_eq!(patch("aaba", &difference("aaba", "b"), "aa"), Err(PatchError::Failed));
}

fn text() -> impl Strategy<Value = String> {
    let letter = prop::sample::select(vec![
        "a", "b", " ", "\n", "\r\n", "é", "e\u{301}", "😀", "😁", "ש", "\u{1}", "\u{2}", "\u{4}",
    ]);
    vec(letter, 0..60).prop_map(|letters| letters.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_texts_are_compared_and_patched(old in text(), new in text(), onto in text()) {
        let spans = difference(&old, &new);
        prop_assert_eq!(check(&spans), Ok(()));
        prop_assert_eq!(&applied(&old, &spans), &new);
        if spans.len() <= MAX_SPANS {
            prop_assert_eq!(patch(&old, &spans, &old), Ok(new));
            prop_assert_eq!(patch(&old, &spans, &onto), patch(&old, &spans, &onto));
        }
    }
}

/// A service with one document, "d".
#[derive(Default)]
struct Server {
    service: Json<DiffSyncEditor>,
    cid: u64,
}

impl Server {
    fn edit(&mut self, tag: &str, base: u64, spans: &[Span]) -> Ran {
        self.cid += 1;
        let spans = serde_json::to_string(spans).unwrap();
        let edit =
            format!(r#"{{"op":"edit","doc":"d","base":{base},"tag":"{tag}","spans":{spans}}}"#);
        run(&mut self.service, self.cid, &edit)
    }

    /// Executes what a page sends, and tells all pages.
    fn serve(&mut self, from: usize, pages: &mut [Page]) -> bool {
        let tag = format!("{from}-{}", self.cid);
        let Some(Edit { base, spans }) = pages[from].send(&tag) else { return false };
        let ran = self.edit(&tag, base, &spans);
        let event: Event = serde_json::from_str(&ran.events.last().expect(&ran.result).1).unwrap();
        for page in pages {
            page.accepted(&event).unwrap();
        }
        true
    }
}

#[test]
fn edits_of_an_older_version_are_patched_and_published() {
    let mut server = Server::default();
    server.edit("a", 0, &[Span::new(0, 0, "hello world")]);
    server.edit("b", 1, &[Span::new(0, 0, "😀 ")]);
    let event = |version: u64, tag: &str, spans: &str| {
        (
            "doc/d".to_owned(),
            format!(
                r#"{{"version":{version},"author":"07070707070707070707070707070707","tag":"{tag}","time":{version}000,"spans":[{spans}]}}"#
            ),
        )
    };
    assert_eq!(
        server.edit("c", 1, &[Span::new(5, 5, ","), Span::new(11, 11, "!")]),
        Ran {
            result: r#"{"ok":{"version":3}}"#.into(),
            events: vec![event(
                3,
                "c",
                r#"{"from":8,"to":8,"insert":","},{"from":14,"to":14,"insert":"!"}"#
            )],
        }
    );
    // What fits nowhere is dropped, and counts as an edit.
    server.edit("d", 3, &[Span::new(0, 15, "0123456789")]);
    assert_eq!(
        server.edit("e", 1, &[Span::new(5, 5, ",")]),
        Ran { result: r#"{"ok":{"version":5}}"#.into(), events: vec![event(5, "e", "")] }
    );
    let snapshot = server.service.0.snapshot();
    assert_eq!(DiffSyncEditor::restore(&snapshot).unwrap(), server.service.0);
    // The state is that of the editor; only what becomes of the next edits differs.
    assert_eq!(Editor::restore(&snapshot).unwrap().snapshot(), snapshot);
}

#[test]
fn the_limits_of_this_mode_are_told() {
    let mut server = Server::default();
    let kib = "x".repeat(MAX_CHANGE);
    let error = |error: &str| Ran { result: format!(r#"{{"error":{{{error}}}}}"#), events: vec![] };
    assert_eq!(
        server.edit("", 0, &[Span::new(0, 0, format!("{kib}x"))]),
        error(
            r#""code":"tooLarge","limit":1024,"spans":32,"message":"the edit is too large: at most 1024 UTF-16 code units removed and inserted, in at most 32 spans; divide it""#
        )
    );
    for version in 0..64 {
        let ran = server.edit("", version, &[Span::new(0, 0, kib.as_str())]);
        assert_eq!(ran.result, format!(r#"{{"ok":{{"version":{}}}}}"#, version + 1));
    }
    assert_eq!(
        server.edit("", 64, &[Span::new(0, 0, "x")]),
        error(
            r#""code":"tooLong","limit":65536,"message":"the text would take more than 65536 bytes as JSON: start another document""#
        )
    );
    assert!(server.edit("", 64, &[Span::new(0, 1024, "")]).result.contains("ok"));

    let mut server = Server::default();
    server.edit("", 0, &[Span::new(0, 0, "aaba")]);
    server.edit("", 1, &[Span::new(2, 4, "")]);
    assert_eq!(
        server.edit("", 1, &[Span::new(0, 2, ""), Span::new(3, 4, "")]),
        error(
            r#""code":"patchFailed","message":"the edit cannot be patched into the current text: read the document again""#
        )
    );
    assert_eq!(
        server.edit("", 2, &[Span::new(3, 3, "")]).result,
        r#"{"ok":{"version":3}}"#,
        "a span that does nothing is none"
    );
    server.edit("", 3, &[Span::new(0, 0, "😀")]);
    assert_eq!(
        server.edit("", 4, &[Span::new(1, 1, "x")]),
        error(
            r#""code":"splitsSurrogate","at":1,"message":"position 1 is inside a surrogate pair: move it by one""#
        )
    );
}

#[test]
fn pages_send_differences_and_end_at_the_replicas_text() {
    let mut server = Server::default();
    let mut pages = [Page::default(), Page::default()];
    pages[0].change(&[Span::new(0, 0, "The quick brown fox.")]).unwrap();
    assert!(server.serve(0, &mut pages));
    assert!(!server.serve(0, &mut pages));
    // Both type before they hear of each other.
    pages[0].change(&[Span::new(4, 9, "slow")]).unwrap();
    pages[1].change(&[Span::new(20, 20, " 😀")]).unwrap();
    assert!(server.serve(0, &mut pages));
    assert_eq!(pages[1].text().to_string(), "The slow brown fox. 😀");
    assert!(server.serve(1, &mut pages));
    // A text too large for one edit goes in several.
    let long = "0123456789😀".repeat(300);
    let length = utf16_len(&long);
    pages[1].change(&[Span::new(0, 3, long.as_str())]).unwrap();
    let mut edits = 0;
    while server.serve(1, &mut pages) {
        edits += 1;
    }
    assert_eq!(edits, 4);
    assert_eq!(pages[0].text().to_string(), format!("{long} slow brown fox. 😀"));
    pages[0].change(&[Span::new(0, length, "")]).unwrap();
    while server.serve(0, &mut pages) {}
    for page in &pages {
        assert_eq!((page.text().to_string(), page.failed()), (" slow brown fox. 😀".into(), 0));
    }
}
