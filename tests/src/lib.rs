//! Tests of the whole of WebBFT: a deterministic simulator of replicas, clients and the network
//! between them ([`sim`]), and tests on real processes (`tests/`).

pub mod linearizability;
pub mod proxy;
pub mod sim;
