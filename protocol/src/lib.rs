//! The WebBFT protocol: Byzantine fault-tolerant state machine replication with clients that
//! vote for themselves, as pure state machines.
//!
//! Nothing here touches a socket, file, clock, thread or the operating system's randomness. A
//! state machine has methods of four kinds: `handle_*(now, input)` feeds one in, `poll_*()` gives
//! what it wants done, `next_deadline()` says when to call back, and the rest only look. Drivers
//! (the daemon, the native client, the browser, the simulator) move bytes and time.
//!
//! Start with [`membership`] (who takes part), [`wire`] (what is said) and [`auth`] (who said
//! it); then `ordering` and [`execution`] make a `replica::Replica`, and [`client`] votes on its
//! replies. Rule numbers such as A4 refer to `docs/protocol.md`.

pub mod auth;
pub mod client;
#[cfg(feature = "replica")]
pub mod execution;
pub mod membership;
#[cfg(feature = "replica")]
pub mod ordering;
#[cfg(feature = "replica")]
pub mod replica;
pub mod time;
pub mod wire;
