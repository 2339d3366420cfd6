//! Being written.

/// The client without its bytes.
#[derive(Debug)]
pub struct ServiceProxy {}
