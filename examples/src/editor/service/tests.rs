//! Whole outputs of the editor.

use webbft_protocol::execution::{Answer, Json, Service};
use webbft_protocol::wire::limits::{MAX_PAYLOAD, MAX_RESULT};

use super::super::document::{MAX_LOG_BYTES, MAX_LOG_EDITS};
use super::super::text::{MAX_TEXT, Text};
use super::*;
use crate::testing::{Ran, run};

const AUTHOR: &str = "07070707070707070707070707070707";

fn edit(base: u64, spans: &str) -> String {
    edit_of("d", base, spans)
}

fn edit_of(doc: &str, base: u64, spans: &str) -> String {
    format!(r#"{{"op":"edit","doc":"{doc}","base":{base},"tag":"t{base}","spans":[{spans}]}}"#)
}

fn span(from: usize, to: usize, insert: &str) -> String {
    serde_json::to_string(&Span::new(from, to, insert)).unwrap()
}

/// The event of an edit accepted in the instance of the same number, as [`run`] does it.
fn event(version: u64, tag: &str, spans: &str) -> String {
    format!(
        r#"{{"version":{version},"author":"{AUTHOR}","tag":"{tag}","time":{version}000,"spans":[{spans}]}}"#
    )
}

fn accepted(version: u64, tag: &str, spans: &str) -> Ran {
    Ran {
        result: format!(r#"{{"ok":{{"version":{version}}}}}"#),
        events: vec![("doc/d".into(), event(version, tag, spans))],
    }
}

fn refused(error: &str) -> Ran {
    Ran { result: format!(r#"{{"error":{{{error}}}}}"#), events: vec![] }
}

fn ask(editor: &Json<Editor>, query: &str) -> (String, Option<Cid>) {
    let Answer { result, as_of } = editor.query(query.as_bytes());
    (String::from_utf8(result).unwrap(), as_of)
}

fn text_of(editor: &Editor, doc: &str) -> String {
    editor.documents.get(doc).map(|document| document.text.to_string()).unwrap_or_default()
}

/// A document "d" with these texts inserted one after the other at the beginning.
fn with_text(inserts: &[&str]) -> Json<Editor> {
    let mut editor = Json::<Editor>::default();
    for (version, insert) in (0..).zip(inserts) {
        run(&mut editor, version + 1, &edit(version, &span(0, 0, insert)));
    }
    editor
}

#[test]
fn edits_are_rebased_published_and_read() {
    let mut editor = Json::<Editor>::default();
    assert_eq!(
        ask(&editor, r#"{"op":"read","doc":"d"}"#),
        (r#"{"ok":{"version":0,"text":""}}"#.into(), Some(Cid::ZERO))
    );
    let mut created = accepted(1, "t0", &span(0, 0, "hello"));
    created.events.insert(0, ("docs".into(), r#"{"doc":"d","version":1}"#.into()));
    assert_eq!(run(&mut editor, 1, &edit(0, &span(0, 0, "hello"))), created);
    // Two clients that both know version 1: the second edit moves behind the first.
    assert_eq!(
        run(&mut editor, 2, &edit(1, &[span(0, 1, "J"), span(5, 5, "!")].join(","))),
        accepted(2, "t1", &[span(0, 1, "J"), span(5, 5, "!")].join(","))
    );
    assert_eq!(
        run(&mut editor, 3, &edit(1, &[span(0, 2, ""), span(5, 5, " 😀")].join(","))),
        accepted(3, "t1", &[span(1, 2, ""), span(6, 6, " 😀")].join(","))
    );
    // Everything it deletes is gone already: the edit still counts, so its author learns of it.
    assert_eq!(run(&mut editor, 4, &edit(1, &span(0, 2, ""))), accepted(4, "t1", ""));
    let read = r#"{"op":"read","doc":"d"}"#;
    let text = r#"{"ok":{"version":4,"text":"Jllo! 😀"}}"#;
    assert_eq!(ask(&editor, read), (text.into(), Some(Cid(4))));
    assert_eq!(run(&mut editor, 5, read), Ran { result: text.into(), events: vec![] });
    // Spans are accepted in normal form: none that do nothing, neighbouring deletions as one.
    let spans = [span(0, 0, ""), span(0, 1, ""), span(1, 2, ""), span(4, 4, "")].join(",");
    assert_eq!(run(&mut editor.clone(), 5, &edit(4, &spans)), accepted(5, "t4", &span(0, 2, "")));
    // Another document changes nothing here.
    run(&mut editor, 6, &edit_of("other", 0, &span(0, 0, "x")));
    assert_eq!(ask(&editor, read), (text.into(), Some(Cid(4))));
    assert_eq!(
        ask(&editor, r#"{"op":"since","doc":"d","version":2}"#),
        (
            format!(
                r#"{{"ok":{{"version":4,"edits":[{},{}]}}}}"#,
                event(3, "t1", &[span(1, 2, ""), span(6, 6, " 😀")].join(",")),
                event(4, "t1", "")
            ),
            Some(Cid(4))
        )
    );
}

#[test]
fn documents_are_created_once_and_listed() {
    let mut editor = Json::<Editor>::default();
    let list = |editor: &Json<Editor>| ask(editor, r#"{"op":"list"}"#);
    assert_eq!(list(&editor), (r#"{"ok":{"documents":[]}}"#.into(), Some(Cid::ZERO)));
    let create = r#"{"op":"create","doc":"d"}"#;
    let created = Ran {
        result: r#"{"ok":{"version":0}}"#.into(),
        events: vec![("docs".into(), r#"{"doc":"d","version":0}"#.into())],
    };
    assert_eq!(run(&mut editor, 3, create), created);
    let exists = |version: u64| {
        refused(&format!(
            r#""code":"exists","version":{version},"message":"there is a document of that name already: open it, or take another name""#
        ))
    };
    assert_eq!(run(&mut editor, 4, create), exists(0));
    run(&mut editor, 5, &edit_of("a", 0, &span(0, 0, "new")));
    let entry = |doc: &str, version: u64, length: usize, changed: u64| {
        format!(r#"{{"doc":"{doc}","version":{version},"length":{length},"changed":{changed}}}"#)
    };
    let expected = |entries: [String; 2]| {
        format!(r#"{{"ok":{{"documents":[{},{}]}}}}"#, entries[0], entries[1])
    };
    assert_eq!(
        list(&editor),
        (expected([entry("a", 1, 3, 5000), entry("d", 0, 0, 3000)]), Some(Cid(5)))
    );
    // The first edit of a document that was created is like any other.
    let first = run(&mut editor, 6, &edit(0, &span(0, 0, "😀")));
    assert_eq!(first.events.iter().map(|(topic, _)| topic).collect::<Vec<_>>(), ["doc/d"]);
    assert_eq!(
        list(&editor),
        (expected([entry("a", 1, 3, 5000), entry("d", 1, 2, 6000)]), Some(Cid(6)))
    );
    assert_eq!(run(&mut editor, 7, create), exists(1));
    // A refused first edit creates nothing.
    run(&mut editor, 8, &edit_of("b", 0, &span(1, 1, "x")));
    assert_eq!(editor.0.documents.size(), 2);
}

#[test]
fn the_history_begins_where_the_log_does() {
    let mut editor = Json::<Editor>::default();
    let history = r#"{"op":"history","doc":"d"}"#;
    let none = r#"{"ok":{"oldest":0,"version":0,"text":""}}"#;
    assert_eq!(ask(&editor, history), (none.into(), Some(Cid::ZERO)));
    let edits = MAX_LOG_EDITS as u64 + 5;
    let mut texts = vec![String::new()];
    for (version, at) in (0..edits).zip(0..) {
        let span = span(at / 2, at / 2, &version.to_string());
        run(&mut editor, version + 1, &edit(version, &span));
        texts.push(text_of(&editor.0, "d"));
    }
    let expected = format!(r#"{{"ok":{{"oldest":5,"version":{edits},"text":"{}"}}}}"#, texts[5]);
    assert_eq!(ask(&editor, history), (expected, Some(Cid(edits))));
    // From there every version can be had by `since`, after a restart, too.
    let editor = Json(Editor::restore(&editor.0.snapshot()).unwrap());
    let (since, _) = ask(&editor, r#"{"op":"since","doc":"d","version":5}"#);
    let since: serde_json::Value = serde_json::from_str(&since).unwrap();
    let mut text = editor.0.documents.get("d").unwrap().oldest_text.clone();
    for (event, expected) in since["ok"]["edits"].as_array().unwrap().iter().zip(&texts[6..]) {
        let event: Event = serde_json::from_value(event.clone()).unwrap();
        text.apply(&event.spans).unwrap();
        assert_eq!(&text.to_string(), expected);
    }
    assert_eq!(text.to_string(), *texts.last().unwrap());
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let mut editor = with_text(&["😀b", "x"]);
    let before = editor.0.clone();
    for (operation, error) in [
        (
            edit(3, ""),
            r#""code":"future","version":2,"message":"that version does not exist, the last one is 2: read the document again""#,
        ),
        (
            edit_of("new", 1, ""),
            r#""code":"future","version":0,"message":"that version does not exist, the last one is 0: read the document again""#,
        ),
        (
            edit(2, &span(1, 5, "")),
            r#""code":"outOfRange","length":4,"message":"a span ends behind the text, which has 4 UTF-16 code units at that version""#,
        ),
        // The text has grown since, but the author cannot have meant what he did not see.
        (
            edit(1, &span(4, 4, "z")),
            r#""code":"outOfRange","length":3,"message":"a span ends behind the text, which has 3 UTF-16 code units at that version""#,
        ),
        (
            edit(2, &span(2, 2, "z")),
            r#""code":"splitsSurrogate","at":2,"message":"position 2 is inside a surrogate pair: move it by one""#,
        ),
        // Named by the position in the author's own version.
        (
            edit(1, &[span(0, 0, "z"), span(1, 3, "")].join(",")),
            r#""code":"splitsSurrogate","at":1,"message":"position 1 is inside a surrogate pair: move it by one""#,
        ),
        (
            edit(2, &span(3, 2, "")),
            r#""code":"malformedSpans","message":"span 0 ends at 2, before it begins at 3""#,
        ),
        (
            edit(2, &[span(0, 3, ""), span(1, 1, "z")].join(",")),
            r#""code":"malformedSpans","message":"span 1 begins at 1, before the end of the one before it at 3; spans are ascending, do not overlap, and all refer to the same text""#,
        ),
    ] {
        assert_eq!(run(&mut editor, 3, &operation), refused(error), "{operation}");
        assert_eq!(editor.0, before);
    }
    assert_eq!(
        ask(&editor, r#"{"op":"since","doc":"d","version":3}"#),
        (refused(r#""code":"future","version":2,"message":"that version does not exist, the last one is 2: read the document again""#).result, Some(Cid(2)))
    );
    assert_eq!(editor.0, before);
}

#[test]
fn malformed_operations_are_not_admitted() {
    let name = "a document's name has 1 to 64 of the characters A-Z a-z 0-9 _ -";
    for (operation, refusal) in [
        (edit_of("", 0, ""), name.to_owned()),
        (edit_of("a/b", 0, ""), name.to_owned()),
        (edit_of("é", 0, ""), name.to_owned()),
        (edit_of(&"x".repeat(65), 0, ""), name.to_owned()),
        (
            r#"{"op":"edit","doc":"d","base":0,"tag":"123456789012345678901234567890123","spans":[]}"#.into(),
            "a tag has at most 32 UTF-16 code units; this one has 33".to_owned(),
        ),
        (edit(0, r#"{"from":-1,"to":0,"insert":""}"#), "invalid value: integer `-1`, expected usize".into()),
        (edit(0, r#"{"from":0,"to":0}"#), "missing field `insert`".into()),
        (r#"{"op":"since","doc":"d","version":0}"#.into(), "unknown variant `since`, expected one of `create`, `edit`, `read`".into()),
    ] {
        let refused = Json::<Editor>::admit(operation.as_bytes()).unwrap_err();
        assert!(refused.contains(&refusal), "{operation}: {refused}");
    }
    // Half a surrogate pair is no text.
    let lone = edit(0, r#"{"from":0,"to":0,"insert":"\ud83d"}"#);
    assert!(Json::<Editor>::admit(lone.as_bytes()).is_err());
    assert_eq!(Json::<Editor>::admit(edit_of(&"x".repeat(64), 0, "").as_bytes()), Ok(()));
}

#[test]
fn the_log_is_bounded_and_its_end_is_told() {
    let mut editor = Json::<Editor>::default();
    let edits = MAX_LOG_EDITS as u64 + 5;
    for version in 0..edits {
        run(&mut editor, version + 1, &edit(version, &span(0, 0, "x")));
    }
    let too_old = refused(
        r#""code":"tooOld","oldest":5,"message":"that version is too old, the oldest usable one is 5: read the document again""#,
    );
    assert_eq!(run(&mut editor, edits + 1, &edit(4, &span(0, 0, "y"))), too_old);
    assert_eq!(
        ask(&editor, r#"{"op":"since","doc":"d","version":4}"#),
        (too_old.result, Some(Cid(edits)))
    );
    let (since, _) = ask(&editor, r#"{"op":"since","doc":"d","version":5}"#);
    assert_eq!(since.matches("author").count(), MAX_LOG_EDITS);
    assert_eq!(
        run(&mut editor, edits + 1, &edit(5, &span(5, 5, "y"))),
        accepted(edits + 1, "t5", &span(5 + MAX_LOG_EDITS, 5 + MAX_LOG_EDITS, "y"))
    );
}

#[test]
fn an_edit_of_very_many_spans_must_be_recent() {
    let mut editor = with_text(&[&"0".repeat(20_000)]);
    for version in 1..501 {
        run(&mut editor, version + 1, &edit(version, &span(0, 0, "x")));
    }
    let spans: Vec<_> = (0..10_000).map(|at| span(2 * at, 2 * at + 1, "")).collect();
    let oldest = 501 - (MAX_REBASE_STEPS / spans.len()) as u64;
    assert_eq!(
        run(&mut editor, 502, &edit(oldest - 1, &spans.join(","))),
        refused(
            r#""code":"tooOld","oldest":82,"message":"that version is too old, the oldest usable one is 82: read the document again""#
        )
    );
    let ok = r#"{"ok":{"version":502}}"#;
    assert_eq!(run(&mut editor.clone(), 502, &edit(oldest, &spans.join(","))).result, ok);
    assert_eq!(run(&mut editor, 502, &edit(1, &span(0, 9, ""))).result, ok);
}

#[test]
fn nothing_exceeds_the_wire_limits() {
    // A log of insertions as many as fit, inside a text that an old edit then deletes: the
    // deletion falls into as many pieces.
    let mut editor = with_text(&[&"-".repeat(100_000)]);
    let per_edit = 90;
    let mut version = 1;
    loop {
        let spans: Vec<_> =
            (0..per_edit).map(|at| span(1 + at * 1000, 1 + at * 1000, "x")).collect();
        let ran = run(&mut editor, version + 1, &edit(version, &spans.join(",")));
        assert!(ran.result.contains("ok"));
        version += 1;
        if editor.0.documents.get("d").unwrap().oldest() > 2 {
            break;
        }
    }
    let document = editor.0.documents.get("d").unwrap();
    let (oldest, length) = (document.oldest(), document.length_at(document.oldest()));
    let since = ask(&editor, &format!(r#"{{"op":"since","doc":"d","version":{oldest}}}"#)).0;
    assert!((MAX_LOG_BYTES / 2..MAX_RESULT).contains(&since.len()), "{}", since.len());

    let large = "y".repeat(MAX_PAYLOAD - 200);
    let ran = run(&mut editor, version + 1, &edit(oldest, &span(0, length, &large)));
    assert_eq!(ran.result, format!(r#"{{"ok":{{"version":{}}}}}"#, version + 1));
    let [(_, event)] = &ran.events[..] else { panic!("one event") };
    assert!((MAX_PAYLOAD..MAX_RESULT).contains(&event.len()), "{}", event.len());
    assert!(event.matches("from").count() > 90);
}

#[test]
fn a_text_and_all_texts_have_a_largest_size() {
    let mut editor = Json::<Editor>::default();
    let mebibyte = "m".repeat(1 << 20);
    let big = Text::from("b".repeat(MAX_TEXT - 10).as_str());
    let mut document = Document::default();
    (document.text, document.version) = (big, 1);
    editor.0.size = document.text.len_json();
    document.oldest_text = document.text.clone();
    editor.0.documents.insert_mut("d".into(), document);
    assert_eq!(
        run(&mut editor, 2, &edit(1, &span(0, 0, "more than that"))),
        refused(
            r#""code":"tooLong","limit":4193280,"message":"the text would take more than 4193280 bytes as JSON: start another document""#
        )
    );
    assert_eq!(
        run(&mut editor, 2, &edit(1, &span(0, 0, "\n\n\n\n\n"))),
        accepted(2, "t1", &span(0, 0, "\n\n\n\n\n"))
    );
    let read = ask(&editor, r#"{"op":"read","doc":"d"}"#).0;
    assert_eq!(read.len(), r#"{"ok":{"version":2,"text":""}}"#.len() + MAX_TEXT);

    let full = refused(
        r#""code":"full","documents":256,"size":67108864,"message":"no room: at most 256 documents, and 67108864 bytes as JSON in all""#,
    );
    editor.0.size = MAX_TOTAL - 1000;
    assert_eq!(run(&mut editor, 3, &edit_of("e", 0, &span(0, 0, &mebibyte[..1001]))), full);
    // Shorter is always possible, but what was deleted counts while it is in the history.
    editor.0.size = MAX_TOTAL + 1000;
    let size = editor.0.size;
    assert_eq!(run(&mut editor, 3, &edit(2, &span(0, 1, ""))), accepted(3, "t2", &span(0, 1, "")));
    assert_eq!(run(&mut editor, 4, &edit(3, &span(0, 9, ""))), accepted(4, "t3", &span(0, 9, "")));
    assert_eq!(size - editor.0.size, 10);
    assert_eq!(editor.0.documents.get("d").unwrap().size(), MAX_TEXT - 10);
    for version in 4..MAX_LOG_EDITS as u64 + 5 {
        run(&mut editor, version + 1, &edit(version, ""));
    }
    assert_eq!(editor.0.documents.get("d").unwrap().size(), MAX_TEXT - 15);
    assert_eq!(size - editor.0.size, 15);

    let mut editor = Json::<Editor>::default();
    for index in 0..MAX_DOCUMENTS as u64 {
        run(&mut editor, index + 1, &edit_of(&format!("d{index}"), 0, &span(0, 0, "x")));
    }
    assert_eq!(run(&mut editor, 300, &edit_of("another", 0, "")), full);
    assert_eq!(run(&mut editor, 300, r#"{"op":"create","doc":"another"}"#), full);
    assert_eq!(
        ask(&editor, r#"{"op":"list"}"#).0.matches(r#""version":1,"#).count(),
        MAX_DOCUMENTS
    );
    assert!(run(&mut editor, 301, &edit_of("d0", 1, "")).result.contains("ok"));
}

#[test]
fn snapshot_and_restore() {
    let mut editor = with_text(&["hello 😀", "x", "y"]);
    run(&mut editor, 4, &edit(1, &span(0, 5, "bye")));
    run(&mut editor, 5, &edit_of("other", 0, &span(0, 0, "text")));
    run(&mut editor, 5, r#"{"op":"create","doc":"third"}"#);
    let snapshot = editor.0.snapshot();
    let mut restored = Json(Editor::restore(&snapshot).unwrap());
    assert_eq!((&restored.0, restored.0.snapshot()), (&editor.0, snapshot.clone()));
    let next = edit(1, &span(6, 8, ":)"));
    assert_eq!(run(&mut restored, 6, &next), run(&mut editor, 6, &next));
    assert_eq!(text_of(&restored.0, "d"), "yxbye :)");
    // Damage is told or gives another state, and never panics.
    for index in 0..snapshot.len() {
        for bit in 0..8 {
            let mut damaged = snapshot.clone();
            damaged[index] ^= 1 << bit;
            if let Ok(other) = Editor::restore(&damaged) {
                assert_ne!(other, restored.0);
            }
        }
        assert!(Editor::restore(&snapshot[..index]).is_err());
    }
}
