//! What JavaScript hands in, checked.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::JsValue;
use webbft_protocol::client::EndpointOptions;
use webbft_protocol::membership::View;

use crate::error::Thrown;
use crate::{duration, number};

pub(crate) fn view(view: JsValue) -> Result<View, Thrown> {
    parse(view).map_err(|message| Thrown::new("VIEW", ["the view: ", &message].concat()))
}

pub(crate) fn bytes32(what: &str, bytes: &[u8]) -> Result<[u8; 32], Thrown> {
    bytes.try_into().map_err(|_| Thrown::new("INPUT", [what, " must have 32 bytes"].concat()))
}

/// Those options that the caller gives; times in milliseconds.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Options {
    call_timeout: Option<f64>,
    read_timeout: Option<f64>,
    backoff_min: Option<f64>,
    backoff_max: Option<f64>,
    max_pending: Option<f64>,
}

pub(crate) fn options(options: JsValue) -> Result<EndpointOptions, Thrown> {
    let given: Options = parse(options)
        .map_err(|message| Thrown::new("INPUT", ["the options: ", &message].concat()))?;
    let mut options = EndpointOptions::default();
    let fields = [
        (given.call_timeout, &mut options.call_timeout),
        (given.read_timeout, &mut options.read_timeout),
        (given.backoff_min, &mut options.backoff_min),
        (given.backoff_max, &mut options.backoff_max),
    ];
    for (given, field) in fields {
        if let Some(milliseconds) = given {
            // Also refuses NaN; a day is longer than any of these makes sense.
            if !(1.0..=86_400_000.0).contains(&milliseconds) {
                let message = "a time must be between 1 and 86400000 milliseconds";
                return Err(Thrown::new("INPUT", message.to_owned()));
            }
            *field = duration(milliseconds);
        }
    }
    if let Some(max) = given.max_pending {
        if !(1.0..=number(1 << 20)).contains(&max) {
            let message = "maxPending must be between 1 and 1048576".to_owned();
            return Err(Thrown::new("INPUT", message));
        }
        options.max_pending = integer(max);
    }
    Ok(options)
}

#[expect(clippy::cast_possible_truncation, reason = "checked above")]
const fn integer(number: f64) -> usize {
    number as usize
}

fn parse<T: DeserializeOwned>(value: JsValue) -> Result<T, String> {
    serde_wasm_bindgen::from_value(value).map_err(|error| error.to_string())
}
