//! Real processes: four `webbft replica` daemons of the key-value store on the loopback
//! interface, and native clients. Each test has daemons, ports and a directory of its own, ends only
//! its own children, and waits for events with a bound.

#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that fails is to panic, and may say why"
)]

mod basic;
mod byzantine_clients;
mod durability;
mod history;
mod http;
mod leader;
mod native;
mod network;
mod support;
