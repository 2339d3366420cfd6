//! What JavaScript hands in, checked field by field. serde-wasm-bindgen would do it too, at the
//! price of the formatting of every number that it could complain about, 25 kB of Wasm.

use std::fmt::Display;

use wasm_bindgen::prelude::*;
use webbft_protocol::client::EndpointOptions;
use webbft_protocol::membership::{
    Cid, Digest, MacAlgorithm, Member, ReplicaId, ReplicaSet, ServiceId, View, ViewNumber,
};

use crate::duration;
use crate::error::Thrown;

/// 2^53 − 1, the largest number that JavaScript counts to.
const MAX_SAFE: f64 = 9_007_199_254_740_991.0;

/// A day: longer than any of the times makes sense.
const MAX_TIME: f64 = 86_400_000.0;

#[wasm_bindgen]
extern "C" {
    /// Any object.
    type Fields;

    #[wasm_bindgen(method, structural, indexing_getter)]
    fn field(this: &Fields, name: &str) -> JsValue;

    #[wasm_bindgen(method, structural, indexing_getter)]
    fn element(this: &Fields, index: u32) -> JsValue;
}

/// An object of the caller's, and what it is called in errors.
struct Object {
    what: String,
    code: &'static str,
    fields: Fields,
}

impl Object {
    fn new(code: &'static str, what: &str, value: JsValue) -> Result<Self, Thrown> {
        if !value.is_object() {
            return Err(Thrown::new(code, [what, " must be an object"].concat()));
        }
        Ok(Self { what: what.to_owned(), code, fields: value.unchecked_into() })
    }

    fn wrong(&self, name: &str, why: &str) -> Thrown {
        Thrown::new(self.code, [&self.what, ".", name, " ", why].concat())
    }

    /// A field's value, unless it is left out.
    fn given(&self, name: &str) -> Option<JsValue> {
        let value = self.fields.field(name);
        if value.is_undefined() || value.is_null() { None } else { Some(value) }
    }

    fn text(&self, name: &str) -> Result<Option<String>, Thrown> {
        let Some(value) = self.given(name) else { return Ok(None) };
        value.as_string().map(Some).ok_or_else(|| self.wrong(name, "must be a string"))
    }

    fn number(&self, name: &str, max: f64) -> Result<Option<u64>, Thrown> {
        let Some(value) = self.given(name) else { return Ok(None) };
        match value.as_f64() {
            Some(number) if number.fract() == 0.0 && (0.0..=max).contains(&number) => {
                Ok(Some(integer(number)))
            }
            _ => Err(self.wrong(name, "must be a whole number, not below 0 and not too large")),
        }
    }

    fn hex<T>(
        &self,
        name: &str,
        parse: fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Thrown> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        parse(&text).map(Some).map_err(|why| self.wrong(name, &["is ", &why].concat()))
    }

    fn required<T>(&self, name: &str, value: Option<T>) -> Result<T, Thrown> {
        value.ok_or_else(|| self.wrong(name, "is missing"))
    }

    fn time(&self, name: &str, field: &mut std::time::Duration) -> Result<(), Thrown> {
        let Some(value) = self.given(name) else { return Ok(()) };
        match value.as_f64() {
            Some(time) if (1.0..=MAX_TIME).contains(&time) => *field = duration(time),
            _ => return Err(self.wrong(name, "must be 1 to 86400000 milliseconds")),
        }
        Ok(())
    }
}

/// A view as `webbft init` writes it. [`View::validate`] remains to be called.
pub(crate) fn view(value: JsValue) -> Result<View, Thrown> {
    let view = Object::new("VIEW", "view", value)?;
    let mac = match view.text("mac")?.as_deref() {
        None | Some("hmac-sha256") => MacAlgorithm::HmacSha256,
        Some("hmac-sha1") => MacAlgorithm::HmacSha1,
        Some(_) => return Err(view.wrong("mac", "must be \"hmac-sha256\" or \"hmac-sha1\"")),
    };
    let list = Object::new("VIEW", "view.members", view.fields.field("members"))?;
    let n = list.required("length", list.number("length", f64::from(u32::MAX))?)?;
    // More than `validate` would take need not be read.
    let n = u32::try_from(n).unwrap_or(u32::MAX).min(largest_view() + 1);
    let members =
        (0..n).map(|index| member(list.fields.element(index))).collect::<Result<_, _>>()?;
    Ok(View {
        service: view.required("service", view.hex("service", ServiceId::from_hex)?)?,
        number: ViewNumber(view.required("number", view.number("number", MAX_SAFE)?)?),
        f: size(view.required("f", view.number("f", f64::from(u32::MAX))?)?),
        mac,
        activation: Cid(view.number("activation", MAX_SAFE)?.unwrap_or(1)),
        previous: view.hex("previous", Digest::from_hex)?.unwrap_or_default(),
        members,
    })
}

fn member(value: JsValue) -> Result<Member, Thrown> {
    let member = Object::new("VIEW", "a member of the view", value)?;
    let id = member.required("id", member.number("id", f64::from(u16::MAX))?)?;
    Ok(Member {
        id: ReplicaId(u16::try_from(id).unwrap_or(u16::MAX)),
        url: member.required("url", member.text("url")?)?,
        peer_address: String::new(),
        public_key: member.required("publicKey", member.hex("publicKey", Digest::from_hex)?)?,
        noise_key: member.required("noiseKey", member.hex("noiseKey", Digest::from_hex)?)?,
    })
}

pub(crate) fn bytes32(what: &str, bytes: &[u8]) -> Result<[u8; 32], Thrown> {
    bytes.try_into().map_err(|_| Thrown::new("INPUT", [what, " must have 32 bytes"].concat()))
}

/// The defaults, and what the caller says instead. Times are in milliseconds.
pub(crate) fn options(value: JsValue) -> Result<EndpointOptions, Thrown> {
    let given = Object::new("INPUT", "options", value)?;
    let mut options = EndpointOptions::default();
    given.time("callTimeout", &mut options.call_timeout)?;
    given.time("readTimeout", &mut options.read_timeout)?;
    given.time("backoffMin", &mut options.backoff_min)?;
    given.time("backoffMax", &mut options.backoff_max)?;
    if let Some(max) = given.number("maxPending", f64::from(1 << 20))? {
        options.max_pending = size(max).max(1);
    }
    Ok(options)
}

/// An error of a check that the protocol makes.
pub(crate) fn invalid(error: &dyn Display) -> Thrown {
    Thrown::new("INPUT", error.to_string())
}

fn largest_view() -> u32 {
    u32::try_from(ReplicaSet::CAPACITY).unwrap_or(u32::MAX)
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "callers have checked that it is whole")]
const fn integer(number: f64) -> u64 {
    number as u64
}
