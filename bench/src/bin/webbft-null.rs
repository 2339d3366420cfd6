//! The `webbft` command with a service that does nothing, for measuring everything else.

use std::process::ExitCode;

use webbft_bench::null::Null;
use webbft_replica::Services;

fn main() -> ExitCode {
    webbft_replica::cli::run(Services::new().add("null", || Null))
}
