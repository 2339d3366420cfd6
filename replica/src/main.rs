//! The `webbft` command, with the example services.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use webbft_examples::counter::Counter;
use webbft_examples::editor::{DiffSyncEditor, Editor};
use webbft_examples::kv::Kv;
use webbft_protocol::execution::Json;
use webbft_replica::Services;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    webbft_replica::cli::run(
        Services::new()
            .add("counter", Json::<Counter>::default)
            .add("kv", Json::<Kv>::default)
            .add("editor", Json::<Editor>::default)
            .add("editor-ds", Json::<DiffSyncEditor>::default),
    )
}
