//! The allocator in the browser: a small one, in constant time.

use rlsf::{GlobalTlsf, GlobalTlsfOptions};

#[global_allocator]
static ALLOCATOR: GlobalTlsf<Options> = GlobalTlsf::new();

struct Options;

impl GlobalTlsfOptions for Options {
    /// Growing in place would be code for every case.
    const ENABLE_REALLOCATION: bool = false;
    /// Memory can never be given back: what is grown for large messages must be of use for small ones.
    const COALESCE_POOLS: bool = true;
}
