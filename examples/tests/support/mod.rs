//! For the editor's tests: the service, spoken to in JSON as a client does.

// Each test uses a part.
#![allow(dead_code)]

use serde::Deserialize;
use serde_json::{Value, json};
use webbft_examples::editor::rebase::Span;
use webbft_examples::editor::{Editor, Event};
use webbft_protocol::execution::{Context, Json, Service};
use webbft_protocol::membership::{Cid, ClientId};
use webbft_protocol::time::UnixMicros;

pub(crate) mod comparison;
pub(crate) mod recording;

/// The editor with one document, "d".
#[derive(Default)]
pub(crate) struct Server {
    pub(crate) editor: Json<Editor>,
    cid: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Envelope {
    Ok(Value),
    Error(Value),
}

impl Server {
    /// Executes an edit and returns its event, having checked that the result names its version.
    pub(crate) fn edit(
        &mut self,
        client: u8,
        base: u64,
        tag: &str,
        spans: &[Span],
    ) -> Result<Event, Value> {
        let operation = json!({"op": "edit", "doc": "d", "base": base, "tag": tag, "spans": spans});
        let operation = serde_json::to_vec(&operation).unwrap();
        Json::<Editor>::admit(&operation).unwrap();
        self.cid += 1;
        let mut published = Vec::new();
        let mut context = Context::new(
            ClientId([client; 16]),
            Cid(self.cid),
            UnixMicros(self.cid),
            [0; 32],
            &mut published,
        );
        let result = self.editor.execute(&operation, &mut context);
        match serde_json::from_slice(&result).unwrap() {
            Envelope::Ok(reply) => {
                let topics: Vec<&str> = published.iter().map(|event| &*event.topic).collect();
                let created: &[&str] = if self.cid == 1 { &["docs"] } else { &[] };
                assert_eq!(topics, [created, &["doc/d"]].concat());
                let payload = &published.last().unwrap().payload;
                let event: Event = serde_json::from_slice(payload).unwrap();
                assert_eq!(reply, json!({"version": event.version}));
                Ok(event)
            }
            Envelope::Error(error) => Err(error),
        }
    }

    /// The document's text.
    pub(crate) fn text(&self) -> String {
        let answer = self.editor.query(br#"{"op":"read","doc":"d"}"#);
        match serde_json::from_slice(&answer.result).unwrap() {
            Envelope::Ok(reply) => reply["text"].as_str().unwrap().to_owned(),
            Envelope::Error(error) => panic!("{error}"),
        }
    }
}
