//! What is thrown into JavaScript: an `Error` with a `code`; the facade makes a `WebBftError` of it.

use wasm_bindgen::prelude::*;
use webbft_protocol::client::{CallError, InvokeError, Outcome, SuspectReason};
use webbft_protocol::membership::ViewError;
use webbft_protocol::wire::HelloRefusal;

#[derive(Debug)]
pub(crate) struct Thrown {
    code: &'static str,
    message: String,
}

impl Thrown {
    pub(crate) fn view(error: &ViewError) -> Self {
        Self { code: "VIEW", message: error.to_string() }
    }

    pub(crate) fn new(code: &'static str, message: String) -> Self {
        Self { code, message }
    }

    pub(crate) fn invoke(error: InvokeError) -> Self {
        let code = match error {
            InvokeError::QueueFull(_) => "QUEUE_FULL",
            InvokeError::Closed => "CLOSED",
            InvokeError::PayloadTooLarge(_)
            | InvokeError::AnnouncementTooLarge(_)
            | InvokeError::NoSubscription
            | InvokeError::AlreadySubscribed => "INPUT",
        };
        Self { code, message: error.to_string() }
    }
}

#[wasm_bindgen]
extern "C" {
    /// JavaScript's own error; it is given a `code`.
    type Error;

    #[wasm_bindgen(constructor)]
    fn new(message: &str) -> Error;

    #[wasm_bindgen(method, setter)]
    fn set_code(this: &Error, code: &str);
}

impl From<Thrown> for JsValue {
    fn from(thrown: Thrown) -> Self {
        let error = Error::new(&thrown.message);
        error.set_code(thrown.code);
        error.into()
    }
}

/// The facade's code for a failed call.
pub(crate) const fn code(error: &CallError) -> &'static str {
    match error {
        CallError::Timeout => "TIMEOUT",
        CallError::NoQuorum => "NO_QUORUM",
        CallError::SessionExpired => "EXPIRED",
        CallError::Refused(_) | CallError::TooManySubscriptions => "REFUSED",
        CallError::Faulted => "FAULT",
        CallError::TooLarge => "TOO_LARGE",
        CallError::Forgotten => "FORGOTTEN",
        CallError::Incompatible => "PROTOCOL",
        CallError::Cancelled => "ABORTED",
        CallError::Closed => "CLOSED",
    }
}

pub(crate) const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::NotSent => "not-sent",
        Outcome::NotExecuted => "not-executed",
        Outcome::Unknown => "unknown",
        Outcome::Executed => "executed",
    }
}

pub(crate) const fn refusal(refusal: HelloRefusal) -> &'static str {
    match refusal {
        HelloRefusal::Version(_) => "version",
        HelloRefusal::Service(_) => "service",
        HelloRefusal::View(_) => "view",
        HelloRefusal::Key => "key",
        HelloRefusal::Busy => "busy",
    }
}

pub(crate) const fn reason(reason: SuspectReason) -> &'static str {
    match reason {
        SuspectReason::Divergent => "divergent",
        SuspectReason::BadAuth => "bad-auth",
        SuspectReason::Protocol => "protocol",
        SuspectReason::Silent => "silent",
    }
}
