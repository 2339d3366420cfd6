//! The simulator.
pub mod audit;
pub mod draw;
pub mod history;
pub mod invariants;
pub mod queue;
pub mod service;
