use serde::{Deserialize, Serialize};

use super::*;

#[derive(Deserialize, TS)]
#[serde(tag = "op", rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code)]
enum Operation {
    /// Casts a vote.
    CastVote {
        /// For what.
        option: String,
        #[ts(optional, as = "Option<u64>")]
        weight: u64,
    },
    Tally {},
}

#[derive(Deserialize, TS)]
#[serde(tag = "op", rename_all = "camelCase")]
#[expect(dead_code)]
enum Query {
    Tally {},
    Since(Since),
}

#[derive(Deserialize, TS)]
#[expect(dead_code)]
struct Since {
    when: u64,
}

/// The votes.
#[derive(Serialize, TS)]
struct Tally {
    votes: Vec<Votes>,
}

#[derive(Serialize, TS)]
struct Votes {
    option: String,
    count: u64,
}

fn poll() -> Interface {
    Interface::new("Poll")
        .operations::<Operation>()
        .operations::<Query>()
        .result::<Tally>(["castVote", "tally", "since"])
        .event::<Tally>("poll")
        .event::<Votes>("poll/*")
}

#[test]
fn renders_every_type_once_and_the_interface_last() {
    let text = poll().render().expect("the types are those of a service");
    assert_eq!(text, include_str!("poll.ts"));
}

#[test]
fn a_type_that_is_no_service_is_named() {
    let message = |interface: Interface| interface.render().expect_err("refused").to_string();
    assert_eq!(
        message(Interface::new("X").operations::<Tally>()),
        "Tally has no operation: derive TS for an enum with struct variants and #[serde(tag = \"op\")]"
    );
    assert_eq!(
        message(Interface::new("X").operations::<Query>().result::<Tally>(["tally"])),
        r#"the operation "since" has no result: add .result::<…>(["since"])"#
    );
    assert_eq!(
        message(poll().result::<Votes>(["cast"])),
        r#""cast" has a result but is no operation: it is one of castVote, tally, since"#
    );
    assert_eq!(
        message(poll().result::<Votes>(["tally"])),
        r#"the operation "tally" has two results: name it in one .result() only"#
    );
    assert_eq!(
        message(poll().event::<String>("text")),
        "string is declared nowhere in TypeScript: use a struct or enum that derives TS"
    );
    mod other {
        #[derive(serde::Serialize, ts_rs::TS)]
        pub(super) struct Votes {}
    }
    assert_eq!(
        message(poll().event::<other::Votes>("other")),
        "there are two types named Votes: rename one by #[ts(rename = \"…\")]"
    );
}

#[test]
fn a_file_that_is_missing_or_old_is_told_with_the_command() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("poll.ts");
    let check = || poll().check(&path).map_err(|error| error.to_string());
    let told = Err(format!(
        "{} is out of date; write it anew: WEBBFT_UPDATE_TYPESCRIPT=1 cargo test -p webbft-typescript poll",
        path.display()
    ));
    assert_eq!(check(), told);
    fs::write(&path, poll().render().expect("rendered")).expect("written");
    assert_eq!(check(), Ok(()));
    fs::write(&path, "old").expect("written");
    assert_eq!(check(), told);
}
