//! What the benchmarks run: a service that does nothing, load on it, and the floor.
//!
//! `cargo xtask bench` starts these as processes of their own; by hand they serve profiling.

pub mod cpu;
pub mod floor;
pub mod load;
pub mod report;
mod socket;
mod swarm;
