//! The services' interfaces in TypeScript, `typescript/*.ts`: written from the types here.

use std::{env, fs};

use webbft_protocol::execution::{Json, JsonService, Service};
use webbft_typescript::{Interface, UPDATE};

use crate::testing::{Ran, run};
use crate::{counter, editor, kv};

fn check(interface: Interface, path: &str) {
    if let Err(error) = interface.check(path) {
        panic!("{error}");
    }
}

#[test]
fn typescript_of_counter_is_current() {
    let interface = Interface::new("Counter")
        .operations::<counter::Operation>()
        .operations::<counter::Query>()
        .result::<counter::Value>(["add", "get"])
        .event::<counter::Value>(counter::TOPIC)
        .error::<counter::Error>();
    check(interface, "typescript/counter.ts");
}

#[test]
fn typescript_of_kv_is_current() {
    let interface = Interface::new("Kv")
        .operations::<kv::Operation>()
        .operations::<kv::Query>()
        .result::<kv::Value>(["get"])
        .result::<kv::Written>(["put", "delete"])
        .result::<kv::Compared>(["cas"])
        .result::<kv::Page>(["list"])
        .event::<kv::Entry>(kv::TOPIC)
        .error::<kv::Error>();
    check(interface, "typescript/kv.ts");
}

#[test]
fn typescript_of_editor_is_current() {
    let interface = Interface::new("Editor")
        .operations::<editor::Operation>()
        .operations::<editor::Query>()
        .result::<editor::Edited>(["create", "edit"])
        .result::<editor::Read>(["read"])
        .result::<editor::Edits>(["since"])
        .result::<editor::History>(["history"])
        .result::<editor::Documents>(["list"])
        .event::<editor::NewDocument>(editor::DOCS_TOPIC)
        .event::<editor::Event>("doc/*")
        .error::<editor::Error>();
    check(interface, "typescript/editor.ts");
}

/// What the services really take and give, as constants of the types above: the type checker of the
/// JavaScript tests compares the two.
struct Samples(String);

impl Samples {
    /// Executes an operation, given without its name, and keeps what comes of it.
    fn add<S: JsonService>(
        &mut self,
        service: &mut Json<S>,
        interface: &str,
        op: &str,
        request: &str,
    ) {
        let Ran { result, events } = run(service, self.0.len() as u64, &named(op, request));
        self.exchange(interface, op, request, &result);
        for (topic, event) in events {
            self.line(&event, &format!("{interface}['events']['{topic}']"));
        }
    }

    /// The same of a query.
    fn ask<S: JsonService>(&mut self, service: &Json<S>, interface: &str, op: &str, request: &str) {
        let result = Service::query(service, named(op, request).as_bytes()).result;
        self.exchange(interface, op, request, &String::from_utf8(result).expect("JSON"));
    }

    fn exchange(&mut self, interface: &str, op: &str, request: &str, result: &str) {
        let result = result.strip_prefix(r#"{"ok":"#).and_then(|rest| rest.strip_suffix('}'));
        let result = result.expect("the operation succeeds");
        let typed = format!("{interface}['ops']['{op}']");
        self.line(request, &format!("{typed}['req']"));
        self.line(result, &format!("{typed}['res']"));
    }

    fn line(&mut self, value: &str, typed: &str) {
        self.0.push_str(&format!("  {value} satisfies {typed},\n"));
    }
}

/// The request with its name.
fn named(op: &str, request: &str) -> String {
    let comma = if request == "{}" { "" } else { "," };
    format!(r#"{{"op":"{op}"{comma}{}"#, &request[1..])
}

#[test]
fn typescript_of_real_operations_is_current() {
    let mut samples = Samples(
        "// Requests, results and events of real operations, written by a test in Rust.\n\
         import type { Counter } from './counter.ts';\n\
         import type { Editor } from './editor.ts';\n\
         import type { Kv } from './kv.ts';\n\n\
         export const samples = [\n"
            .to_owned(),
    );
    let counter = &mut Json::<counter::Counter>::default();
    samples.add(counter, "Counter", "add", &format!(r#"{{"by":{}}}"#, counter::MAX));
    samples.add(counter, "Counter", "get", "{}");

    let kv = &mut Json::<kv::Kv>::default();
    samples.add(kv, "Kv", "put", r#"{"key":"a","value":"1"}"#);
    samples.add(kv, "Kv", "put", r#"{"key":"a","value":"2"}"#);
    samples.add(kv, "Kv", "cas", r#"{"key":"b","expect":null,"value":"1"}"#);
    samples.add(kv, "Kv", "cas", r#"{"key":"b","expect":"0","value":"1"}"#);
    samples.add(kv, "Kv", "list", r#"{"prefix":""}"#);
    samples.add(kv, "Kv", "list", r#"{"prefix":"","limit":1,"after":null}"#);
    samples.add(kv, "Kv", "delete", r#"{"key":"a"}"#);
    samples.add(kv, "Kv", "get", r#"{"key":"a"}"#);

    let editor = &mut Json::<editor::Editor>::default();
    samples.add(editor, "Editor", "create", r#"{"doc":"notes"}"#);
    let edit = r#"{"doc":"notes","base":0,"tag":"x1","spans":[{"from":0,"to":0,"insert":"hi"}]}"#;
    samples.add(editor, "Editor", "edit", edit);
    samples.add(editor, "Editor", "read", r#"{"doc":"notes"}"#);
    samples.ask(editor, "Editor", "since", r#"{"doc":"notes","version":0}"#);
    samples.ask(editor, "Editor", "history", r#"{"doc":"notes"}"#);
    samples.ask(editor, "Editor", "list", "{}");
    samples.0.push_str("];\n");

    let path = "typescript/samples.ts";
    if env::var_os(UPDATE).is_some_and(|value| value == "1") {
        fs::write(path, &samples.0).expect("the samples can be written");
    }
    let told = format!("write {path} anew: {UPDATE}=1 cargo test -p webbft-examples typescript");
    assert_eq!(fs::read_to_string(path).ok(), Some(samples.0), "{told}");
}
