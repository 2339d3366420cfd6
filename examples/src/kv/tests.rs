//! Whole outputs of the key-value store.

use webbft_protocol::execution::{Answer, Json, Service};

use super::store::MAX_DELETED;
use super::*;
use crate::testing::{Ran, run};

fn ran(result: &str, event: Option<&str>) -> Ran {
    Ran {
        result: result.into(),
        events: event.map(|event| ("kv".into(), event.into())).into_iter().collect(),
    }
}

fn read(kv: &Json<Kv>, query: &str) -> (String, Option<Cid>) {
    let Answer { result, as_of } = kv.query(query.as_bytes());
    (String::from_utf8(result).unwrap(), as_of)
}

#[test]
fn writes_reads_and_publishes() {
    let mut kv = Json::<Kv>::default();
    for (cid, operation, result, event) in [
        (
            1,
            r#"{"op":"put","key":"a","value":"1"}"#,
            r#"{"ok":{"previous":null}}"#,
            Some(r#"{"key":"a","value":"1"}"#),
        ),
        (
            2,
            r#"{"op":"put","key":"a","value":"2"}"#,
            r#"{"ok":{"previous":"1"}}"#,
            Some(r#"{"key":"a","value":"2"}"#),
        ),
        // Writing what is there changes nothing, so there is no event.
        (3, r#"{"op":"put","key":"a","value":"2"}"#, r#"{"ok":{"previous":"2"}}"#, None),
        (
            4,
            r#"{"op":"cas","key":"a","expect":"1","value":"3"}"#,
            r#"{"ok":{"swapped":false,"value":"2"}}"#,
            None,
        ),
        (
            5,
            r#"{"op":"cas","key":"a","expect":"2","value":"3"}"#,
            r#"{"ok":{"swapped":true,"value":"3"}}"#,
            Some(r#"{"key":"a","value":"3"}"#),
        ),
        (
            6,
            r#"{"op":"cas","key":"b","expect":"","value":"x"}"#,
            r#"{"ok":{"swapped":false,"value":null}}"#,
            None,
        ),
        (
            7,
            r#"{"op":"cas","key":"b","expect":null,"value":""}"#,
            r#"{"ok":{"swapped":true,"value":""}}"#,
            Some(r#"{"key":"b","value":""}"#),
        ),
        (8, r#"{"op":"get","key":"b"}"#, r#"{"ok":{"value":""}}"#, None),
        (
            9,
            r#"{"op":"delete","key":"a"}"#,
            r#"{"ok":{"previous":"3"}}"#,
            Some(r#"{"key":"a","value":null}"#),
        ),
        (10, r#"{"op":"delete","key":"a"}"#, r#"{"ok":{"previous":null}}"#, None),
        (
            11,
            r#"{"op":"list","prefix":""}"#,
            r#"{"ok":{"entries":[{"key":"b","value":""}],"more":false}}"#,
            None,
        ),
    ] {
        assert_eq!(run(&mut kv, cid, operation), ran(result, event), "{operation}");
    }
    assert_eq!(
        [r#"{"op":"get","key":"a"}"#, r#"{"op":"get","key":"b"}"#, r#"{"op":"get","key":"c"}"#]
            .map(|query| read(&kv, query)),
        [
            (r#"{"ok":{"value":null}}"#.into(), Some(Cid(9))),
            (r#"{"ok":{"value":""}}"#.into(), Some(Cid(7))),
            (r#"{"ok":{"value":null}}"#.into(), Some(Cid::ZERO)),
        ]
    );
}

#[test]
fn lists_by_prefix_in_pages() {
    let mut kv = Json::<Kv>::default();
    for (cid, key) in [(1, "b/2"), (2, "a"), (3, "b/1"), (4, "c"), (5, "b/3"), (6, "b")] {
        run(&mut kv, cid, &format!(r#"{{"op":"put","key":"{key}","value":"v"}}"#));
    }
    run(&mut kv, 7, r#"{"op":"delete","key":"b/2"}"#);
    for (query, keys, more) in [
        (r#"{"op":"list","prefix":"b/"}"#, &["b/1", "b/3"][..], false),
        (r#"{"op":"list","prefix":"b","limit":2}"#, &["b", "b/1"], true),
        (r#"{"op":"list","prefix":"b","limit":2,"after":"b/1"}"#, &["b/3"], false),
        (r#"{"op":"list","prefix":"b","after":"a"}"#, &["b", "b/1", "b/3"], false),
        (r#"{"op":"list","prefix":"b","after":"z"}"#, &[], false),
        (r#"{"op":"list","prefix":"","limit":0}"#, &[], true),
        (r#"{"op":"list","prefix":"x","limit":5}"#, &[], false),
    ] {
        let entries: Vec<_> =
            keys.iter().map(|key| format!(r#"{{"key":"{key}","value":"v"}}"#)).collect();
        let page = format!(r#"{{"ok":{{"entries":[{}],"more":{more}}}}}"#, entries.join(","));
        assert_eq!(read(&kv, query), (page, Some(Cid(7))), "{query}");
    }
}

#[test]
fn a_page_stays_below_the_wire_limit() {
    let mut kv = Kv::default();
    // JSON writes each of these bytes as six.
    let value = "\u{1}".repeat(MAX_VALUE);
    for cid in 1..=20 {
        kv.store.write(&format!("{cid:03}"), Some(&value), Cid(cid));
    }
    let answer = Json(kv).query(br#"{"op":"list","prefix":""}"#);
    let text = String::from_utf8(answer.result).unwrap();
    assert!(text.len() < wire::limits::MAX_RESULT, "{}", text.len());
    assert_eq!((text.matches("\"key\"").count(), text.ends_with(r#""more":true}}"#)), (7, true));
}

#[test]
fn limits_are_told() {
    let key = "k".repeat(MAX_KEY + 1);
    let value = "v".repeat(MAX_VALUE + 1);
    for (operation, refusal) in [
        (
            format!(r#"{{"op":"put","key":"{key}","value":""}}"#),
            "a key has 1 to 256 bytes of UTF-8; this one has 257",
        ),
        (r#"{"op":"get","key":""}"#.into(), "a key has 1 to 256 bytes of UTF-8; this one has 0"),
        (
            format!(r#"{{"op":"cas","key":"a","expect":null,"value":"{value}"}}"#),
            "a value has at most 65536 bytes of UTF-8; this one has 65537: split it over several \
             keys",
        ),
        (r#"{"op":"cas","key":"a","value":"1"}"#.into(), "missing field `expect`"),
    ] {
        assert_eq!(Json::<Kv>::admit(operation.as_bytes()), Err(refusal.to_owned()));
    }
}

#[test]
fn a_full_store_refuses_until_something_is_deleted() {
    let mut kv = Json::<Kv>::default();
    let value = "v".repeat(MAX_VALUE);
    let each = ENTRY_BYTES + 4 + MAX_VALUE;
    let fit = MAX_STORE / each;
    for index in 0..fit {
        kv.0.store.write(&format!("{index:04}"), Some(&value), Cid(1));
    }
    let before = kv.0.clone();
    let put = format!(r#"{{"op":"put","key":"more","value":"{value}"}}"#);
    assert_eq!(
        run(&mut kv, 2, &put),
        ran(
            &format!(
                r#"{{"error":{{"code":"full","limit":67108864,"message":"the store holds at most 67108864 bytes and would hold {}; delete something first"}}}}"#,
                (fit + 1) * each
            ),
            None
        )
    );
    assert_eq!(kv.0, before);
    // Replacing a value does not need twice its room.
    assert!(run(&mut kv, 3, r#"{"op":"put","key":"0000","value":"small"}"#).result.contains("ok"));
    assert_eq!(run(&mut kv, 4, &put).result, r#"{"ok":{"previous":null}}"#);
}

#[test]
fn forgotten_deletions_share_a_floor() {
    let mut kv = Json::<Kv>::default();
    let deletions = u64::try_from(MAX_DELETED).unwrap() + 2;
    for cid in 1..=deletions {
        kv.0.store.write(&format!("k{cid}"), Some("v"), Cid(cid));
        kv.0.store.write(&format!("k{cid}"), None, Cid(cid));
    }
    let as_of = |kv: &Json<Kv>, key: &str| {
        read(kv, &format!(r#"{{"op":"get","key":"{key}"}}"#)).1.unwrap().0
    };
    // k1 and k2 are forgotten; k3 is the oldest remembered deletion.
    assert_eq!(
        ["k1", "k2", "never", "k3", &format!("k{deletions}")].map(|key| as_of(&kv, key)),
        [2, 2, 2, 3, deletions]
    );
    // A key that comes back is no longer a deletion.
    run(&mut kv, deletions + 1, r#"{"op":"put","key":"k3","value":"back"}"#);
    run(&mut kv, deletions + 2, r#"{"op":"put","key":"x","value":"v"}"#);
    run(&mut kv, deletions + 3, r#"{"op":"delete","key":"x"}"#);
    assert_eq!(["k1", "k4"].map(|key| as_of(&kv, key)), [2, 4]);
    assert_eq!(Kv::restore(&kv.0.snapshot()), Ok(kv.0.clone()));
}

#[test]
fn snapshot_and_restore() {
    let mut kv = Json::<Kv>::default();
    run(&mut kv, 1, r#"{"op":"put","key":"a","value":"1"}"#);
    run(&mut kv, 2, r#"{"op":"put","key":"b","value":"2"}"#);
    run(&mut kv, 3, r#"{"op":"delete","key":"a"}"#);
    let snapshot = kv.0.snapshot();
    let restored = Kv::restore(&snapshot).unwrap();
    assert_eq!((&restored, restored.snapshot()), (&kv.0, snapshot.clone()));
    for cut in 0..snapshot.len() {
        assert_eq!(
            Kv::restore(&snapshot[..cut]),
            Err(RestoreError("malformed message".into())),
            "cut at {cut}"
        );
    }
}
