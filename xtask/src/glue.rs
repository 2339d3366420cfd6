//! Makes a module of what wasm-bindgen writes for `--target no-modules`.
//!
//! Its module targets keep one Wasm instance in a variable of the module, for good: after a panic
//! the page would have to be reloaded. Its output for classic scripts is a function around that
//! variable. Exported instead of called, it makes an instance as often as it is called.

use anyhow::{Context, Result};

const HEAD: &str = "let wasm_bindgen = (function(exports) {\n";
const TAIL: &str = "})({ __proto__: null });";

/// The JavaScript, exporting the function as `glue`.
pub(crate) fn module(script: &str) -> Result<String> {
    let (before, rest) = script.split_once(HEAD).context(CHANGED)?;
    let (body, after) = rest.rsplit_once(TAIL).context(CHANGED)?;
    Ok(format!(
        "{before}export function glue() {{\n    const exports = {{ __proto__: null }};\n{body}}}{after}"
    ))
}

/// Its types.
pub(crate) fn types(declarations: &str) -> String {
    format!(
        "{declarations}\nexport type Core = wasm_bindgen.Core;\nexport type Sink = wasm_bindgen.Sink;\n\
         /** What belongs to one instance of the Wasm; call it first. */\n\
         export function glue(): typeof wasm_bindgen;\n"
    )
}

const CHANGED: &str = "wasm-bindgen's output for --target no-modules has another shape than \
                       xtask/src/glue.rs expects; compare them";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_function_is_exported() {
        let script = format!("{HEAD}    let wasm;\n    return f;\n{TAIL}\n");
        assert_eq!(
            module(&script).unwrap(),
            "export function glue() {\n    const exports = { __proto__: null };\n    \
             let wasm;\n    return f;\n}\n"
        );
    }

    #[test]
    fn another_shape_is_refused() {
        assert_eq!(module("export class Core {}").unwrap_err().to_string(), CHANGED);
    }
}
