//! The WebBFT daemon as a library: everything between a [`Service`] and the network.
//!
//! A program that serves a service of its own is three lines:
//!
//! ```no_run
//! use webbft_replica::Services;
//! # use webbft_protocol::execution::{Answer, Context, RestoreError, Service};
//! # #[derive(Clone)] struct MyService;
//! # impl Service for MyService {
//! #     fn execute(&mut self, _: &[u8], _: &mut Context<'_>) -> Vec<u8> { Vec::new() }
//! #     fn query(&self, _: &[u8]) -> Answer { Answer { result: Vec::new(), as_of: None } }
//! #     fn snapshot(&self) -> Vec<u8> { Vec::new() }
//! #     fn restore(_: &[u8]) -> Result<Self, RestoreError> { Ok(MyService) }
//! # }
//! fn main() -> std::process::ExitCode {
//!     webbft_replica::cli::run(Services::new().add("mine", || MyService))
//! }
//! ```
//!
//! [`Service`]: webbft_protocol::execution::Service

mod admission;
mod byzantine;
pub mod cli;
pub mod config;
mod core;
pub mod daemon;
mod http;
pub mod init;
mod keys;
mod link;
mod log;
mod metrics;
mod services;
mod status;
mod storage;
#[cfg(test)]
mod testing;
mod tls;
mod transport;

pub use byzantine::Misbehaviour;
pub use services::Services;
pub use storage::data_dir::{Durability, Recovery};

/// The service in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
