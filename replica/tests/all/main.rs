//! Tests of whole replicas and of the `webbft` command, over real sockets.
#![allow(clippy::unwrap_used, reason = "a test that fails is to panic")]

mod checkpoints;
mod command;
mod daemon;
mod durability;
mod hostile;
mod http_links;
mod processes;
mod support;
