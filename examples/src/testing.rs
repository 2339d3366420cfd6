//! For the unit tests: runs one operation in surroundings of its own.

use webbft_protocol::execution::{Context, Service};
use webbft_protocol::membership::{Cid, ClientId};
use webbft_protocol::time::UnixMicros;

/// All that an operation gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) result: String,
    pub(crate) events: Vec<(String, String)>,
}

/// Admits and executes `operation` as instance `cid`, at agreed time 1000 × `cid`, for client
/// `0707…`.
pub(crate) fn run<S: Service>(service: &mut S, cid: u64, operation: &str) -> Ran {
    S::admit(operation.as_bytes()).expect("the operation is admitted");
    let mut published = Vec::new();
    let mut context =
        Context::new(ClientId([7; 16]), Cid(cid), UnixMicros(1000 * cid), [0; 32], &mut published);
    let result = service.execute(operation.as_bytes(), &mut context);
    Ran {
        result: String::from_utf8(result).expect("JSON"),
        events: published
            .into_iter()
            .map(|event| (event.topic, String::from_utf8(event.payload.to_vec()).expect("JSON")))
            .collect(),
    }
}
