//! Replicated services to start from.
//!
//! Read [`counter`] first: it is the smallest complete service. [`kv`] adds limits, application
//! errors and reads that stay fast while other keys are written. [`editor`] is a real application:
//! several people type into one text, and the replicas merge what they type.
//!
//! Each is a [`JsonService`](webbft_protocol::execution::JsonService): a plain Rust value with
//! typed operations. Wrapped in [`Json`](webbft_protocol::execution::Json) it runs on a replica.

pub mod counter;
pub mod editor;
pub mod kv;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod typescript;
