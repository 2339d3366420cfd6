//! The codes of errors are those of the npm package.

#![expect(clippy::unwrap_used, reason = "a test: what cannot be read fails it")]

use std::collections::BTreeSet;

use webbft_client::Code;

const ERRORS: &str = include_str!("../../js/webbft/src/errors.ts");

/// The quoted words between two marks.
fn quoted(from: &str, to: &str) -> BTreeSet<&'static str> {
    let (_, rest) = ERRORS.split_once(from).unwrap();
    let (list, _) = rest.split_once(to).unwrap();
    list.split('\'').skip(1).step_by(2).collect()
}

/// What cannot happen without Wasm.
fn native(codes: BTreeSet<&'static str>) -> BTreeSet<&'static str> {
    codes.into_iter().filter(|code| !code.starts_with("WASM_")).collect()
}

#[test]
fn both_clients_have_the_same_codes() {
    let here: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(here, native(quoted("export type Code =", ";")));
}

#[test]
fn both_clients_retry_the_same() {
    let retryable = Code::ALL.iter().filter(|code| code.is_retryable());
    let here: BTreeSet<_> = retryable.map(|code| code.as_str()).collect();
    assert_eq!(here, native(quoted("RETRYABLE: ReadonlySet<Code> = new Set([", "]")));
}
