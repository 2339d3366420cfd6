//! Models of WebBFT's protocol at small scope, explored exhaustively.
//!
//! They are written from the rules in `docs/protocol.md` and share no code with `protocol/`: they
//! check the design. Each rule is a field of a `Rules` struct; taking one out must produce a
//! counterexample. `docs/models.md` has scopes, counts and verdicts.

pub mod admission;
pub mod checker;
pub mod instances;
pub mod quotas;
pub mod sessions;
pub mod stops;
pub mod sync;
