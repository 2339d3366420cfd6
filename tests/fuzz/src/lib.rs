//! Fuzz targets. Each turns the fuzzer's bytes into a sequence of inputs and panics where the
//! protocol breaks a promise: that nothing from the network makes it panic, that what it keeps and
//! sends is bounded, that time moves on, and that no correct node accuses another.
//!
//! `tests/` has a test for each target, which plain `cargo test` runs for a while on a stable
//! compiler; `cargo xtask fuzz` runs the same tests under libFuzzer.

mod choices;
mod group;
mod http;
mod link;
mod messages;
mod proxy;
mod replica;
mod service;
mod snapshot;
mod wire;

pub use http::http;
pub use link::link;
pub use proxy::proxy;
pub use replica::{replica, run as run_replicas};
pub use snapshot::snapshot;
pub use wire::wire;
