//! The `webbft` command with a service that does nothing, for measuring everything else.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use webbft_hot_paths::null::Null;
use webbft_replica::Services;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    webbft_replica::cli::run(Services::new().add("null", || Null))
}
