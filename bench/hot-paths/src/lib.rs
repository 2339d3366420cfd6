//! The paths that every request takes, in one process: replicas and clients in memory, without
//! sockets, clocks or randomness. The same path always runs the same instructions, so that
//! `cargo xtask instructions` can compare their number with a budget on any machine.

pub mod hall;
pub mod links;
pub mod null;
