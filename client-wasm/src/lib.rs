//! The WebBFT client for JavaScript engines.
//!
//! [`Core`] is `webbft_protocol::client::Endpoint` behind a narrow boundary: calls and bytes go in,
//! calls of a [`Sink`](sink::Sink) come out. It owns no socket, timer or generator of random numbers.
//! The TypeScript facade (`js/webbft`) does, so that a page, a worker, Node and a test each supply
//! their own, and so that none of it has to be bound from Rust.

#[cfg(target_family = "wasm")]
mod allocator;
mod error;
mod input;
mod panic;
mod sink;

use std::time::Duration;

use bytes::Bytes;
use wasm_bindgen::prelude::*;
use webbft_protocol::auth::ClientIdentity;
use webbft_protocol::client::{CallId, Endpoint, EndpointConfig};
use webbft_protocol::time::{Instant, Now, UnixMicros};
use webbft_protocol::wire::Topic;

use error::Thrown;
use sink::Sink;

/// A client. All times are milliseconds: `now` of a monotonic clock, `unix` since 1970.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Core {
    endpoint: Endpoint,
    now: Now,
}

#[wasm_bindgen]
impl Core {
    /// A client of the service with this view. `secret` is its 32-byte static key; `seed` is 32
    /// random bytes, never used before.
    ///
    /// # Errors
    /// Throws an `Error` with a `code` where the view, an option or a length is wrong.
    #[wasm_bindgen(constructor)]
    pub fn new(
        view: JsValue,
        secret: &[u8],
        seed: &[u8],
        options: JsValue,
        now: f64,
        unix: f64,
    ) -> Result<Self, JsValue> {
        panic::install_hook();
        let config = EndpointConfig {
            view: input::view(view)?,
            identity: ClientIdentity::from_secret(input::bytes32("secret", secret)?),
            seed: input::bytes32("seed", seed)?,
            options: input::options(options)?,
        };
        let now = self::now(now, unix);
        let endpoint = Endpoint::new(config, now).map_err(|error| Thrown::view(&error))?;
        Ok(Self { endpoint, now })
    }

    /// The client's id, in hexadecimal: the hash of its public key.
    #[wasm_bindgen(getter, js_name = clientId)]
    #[must_use]
    pub fn client_id(&self) -> String {
        self.endpoint.client().to_string()
    }

    /// Begins to connect to all replicas.
    pub fn start(&mut self) {
        self.endpoint.start(self.now);
    }

    /// Moves the clocks; everything else happens at the time last given. Does what has become due.
    pub fn advance(&mut self, now: f64, unix: f64) {
        self.now = self::now(now, unix);
        if self.endpoint.next_deadline().is_some_and(|deadline| deadline <= self.now.instant) {
            self.endpoint.handle_deadline(self.now);
        }
    }

    /// When [`Core::advance`] has to be called at the latest, on the monotonic clock.
    #[wasm_bindgen(js_name = nextDeadline)]
    #[must_use]
    pub fn next_deadline(&self) -> Option<f64> {
        // Rounded up: a timer that is early by a fraction would only have to be set again.
        self.endpoint.next_deadline().map(|at| (number(at.as_micros()) / 1000.0).ceil())
    }

    /// The socket to a replica is open. Replicas are named by their position in the view.
    #[wasm_bindgen(js_name = socketOpened)]
    pub fn socket_opened(&mut self, replica: usize) {
        self.endpoint.handle_opened(self.now, replica);
    }

    /// One binary message of a replica.
    #[wasm_bindgen(js_name = socketMessage)]
    pub fn socket_message(&mut self, replica: usize, bytes: Vec<u8>) {
        self.endpoint.handle_message(self.now, replica, Bytes::from(bytes));
    }

    /// The socket to a replica is closed, or did not open.
    #[wasm_bindgen(js_name = socketClosed)]
    pub fn socket_closed(&mut self, replica: usize) {
        self.endpoint.handle_closed(self.now, replica);
    }

    /// The network may be back: tries again at once.
    #[wasm_bindgen(js_name = networkChanged)]
    pub fn network_changed(&mut self) {
        self.endpoint.handle_network_change(self.now);
    }

    /// Begins an ordered call and gives its id.
    ///
    /// # Errors
    /// Throws an `Error` with a `code` where it is not taken.
    pub fn invoke(&mut self, payload: Vec<u8>, timeout: Option<f64>) -> Result<f64, JsValue> {
        let call = self.endpoint.invoke(self.now, payload.into(), timeout.map(duration));
        Ok(id(call.map_err(Thrown::invoke)?))
    }

    /// Begins an unordered call, which falls back to an ordered one, and gives its id.
    ///
    /// # Errors
    /// Throws an `Error` with a `code` where it is not taken.
    pub fn query(&mut self, payload: Vec<u8>, timeout: Option<f64>) -> Result<f64, JsValue> {
        let call = self.endpoint.query(self.now, payload.into(), timeout.map(duration));
        Ok(id(call.map_err(Thrown::invoke)?))
    }

    /// Begins to subscribe; gives the id of the call, which is the subscription's as well.
    ///
    /// # Errors
    /// Throws an `Error` with a `code` where it is not taken.
    pub fn subscribe(&mut self, topic: String) -> Result<f64, JsValue> {
        let topic = Topic::new(topic).map_err(|error| input::invalid(&error))?;
        Ok(id(self.endpoint.subscribe(self.now, topic).map_err(Thrown::invoke)?))
    }

    /// Begins to unsubscribe; gives the id of the call. No event is delivered any more.
    ///
    /// # Errors
    /// Throws an `Error` with a `code` where it is not taken.
    pub fn unsubscribe(&mut self, subscription: f64) -> Result<f64, JsValue> {
        let call = self.endpoint.unsubscribe(self.now, call_id(subscription));
        Ok(id(call.map_err(Thrown::invoke)?))
    }

    /// Stops waiting for a call, which then fails.
    pub fn cancel(&mut self, call: f64) {
        self.endpoint.cancel(self.now, call_id(call));
    }

    /// Closes the client: every unfinished call fails.
    pub fn close(&mut self) {
        self.endpoint.close(self.now);
    }

    /// Hands over the next thing to be done or told; false when there is none. To be called until
    /// then after every other call.
    pub fn poll(&mut self, sink: &Sink) -> bool {
        if let Some(transmit) = self.endpoint.poll_transmit() {
            sink.transmit(transmit);
        } else if let Some(event) = self.endpoint.poll_event() {
            sink.tell(event, self.endpoint.view());
        } else {
            return false;
        }
        true
    }

    /// Tells the client's state.
    pub fn status(&self, sink: &Sink) {
        sink.tell_status(&self.endpoint.status(), self.now);
    }
}

/// The message of the panic that ended this module, if one did: nothing else of it may be used.
#[wasm_bindgen(js_name = panicMessage)]
#[must_use]
pub fn panic_message() -> Option<String> {
    panic::message()
}

fn now(now: f64, unix: f64) -> Now {
    Now { instant: Instant::from_micros(micros(now)), unix: UnixMicros(micros(unix)) }
}

/// Casting a float saturates, and makes 0 of what is not a number.
#[expect(clippy::cast_possible_truncation, reason = "saturates")]
fn micros(milliseconds: f64) -> u64 {
    (milliseconds * 1000.0) as u64
}

fn duration(milliseconds: f64) -> Duration {
    Duration::from_micros(micros(milliseconds))
}

fn id(call: CallId) -> f64 {
    number(call.0)
}

#[expect(clippy::cast_possible_truncation, reason = "ids are small")]
fn call_id(id: f64) -> CallId {
    CallId(id as u64)
}

/// Numbers above 2^53, which no honest quorum reaches, lose precision.
fn number(number: u64) -> f64 {
    number as f64
}
