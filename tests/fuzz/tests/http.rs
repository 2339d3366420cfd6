//! See `webbft_fuzz::http`.

use std::time::Duration;

#[test]
fn http() {
    // Under `cargo xtask fuzz` it is libFuzzer that says for how long.
    bolero::check!()
        .with_iterations(20_000)
        .with_test_time(Duration::from_secs(10))
        .for_each(webbft_fuzz::http);
}
