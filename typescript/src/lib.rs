//! The TypeScript interface of a replicated service, written from its Rust types.
//!
//! A page calls a service by `createClient<Poll>()`; `Poll` says which operations there are, what
//! each takes and gives, and which events. Its Rust types say the same already, so it is written
//! from them: derive [`TS`] for the operations, queries, results and events, name them in an
//! [`Interface`], and let a test keep the file current.
//!
//! ```
//! use ts_rs::TS;
//! use webbft_typescript::Interface;
//!
//! #[derive(serde::Deserialize, TS)]
//! #[serde(tag = "op", rename_all = "camelCase")]
//! enum Operation {
//!     Vote { option: String },
//!     Tally {},
//! }
//!
//! #[derive(serde::Serialize, TS)]
//! struct Tally {
//!     votes: u64,
//! }
//!
//! let text = Interface::new("Poll")
//!     .operations::<Operation>()
//!     .result::<Tally>(["vote", "tally"])
//!     .event::<Tally>("tally")
//!     .render()?;
//! assert!(text.contains("vote: { req: Request<'vote'>; res: Tally };"));
//! # Ok::<(), webbft_typescript::Error>(())
//! ```
//!
//! Integers of any size become `number`, for that is what `JSON.parse` makes of them. It is exact up
//! to 2⁵³: a service whose numbers may be larger carries them as strings. Lists become
//! `ReadonlyArray`: what the replicas agreed on is not for changing.

mod interface;

pub use interface::{Error, Interface, UPDATE};
pub use ts_rs::TS;
