//! The simulator: the real replica and client state machines, the real handshake and links, a
//! network and a clock that are not real, and one seed that decides everything.
//!
//! [`Plan::draw`] turns a seed into a plan: how many replicas, which of them are Byzantine and
//! how, which clients, what the network does. [`World`] runs it: in phase one faults happen; in
//! phase two they have stopped (Byzantine replicas stay what they are) and everything must finish
//! within a bound of virtual time. [`invariants`] judge what was sent, executed and told.

pub mod attacker;
pub mod audit;
mod bad_leader;
pub mod byzantine;
pub mod call_history;
mod client_links;
pub mod client_node;
pub mod disk;
pub mod draw;
pub mod draw_plan;
mod faults;
pub mod history;
pub mod invariants;
mod logging;
pub mod network;
pub mod plan;
pub mod queue;
pub mod replica_node;
pub mod report;
pub mod runner;
pub mod service;
mod streams;
mod words;
pub mod world;

pub use disk::DiskSpeed;
pub use draw::Draw;
pub use plan::{
    Attack, Attacker, Client, Crash, CrashPoint, DiskFate, Faults, Latency, MISDEEDS, MS, Misdeed,
    Partition, Plan, S, Sabotage, Storage,
};
pub use report::{Outcome, Statistics};
pub use runner::{Failure, run_plan, run_seed};
pub use world::{World, make_view};
