//! Makes a module of what wasm-bindgen writes for `--target no-modules`.
//!
//! Its module targets keep one Wasm instance in a variable of the module, for good: after a panic
//! the page would have to be reloaded. Its output for classic scripts is a function around that
//! variable. Exported instead of called, it makes an instance as often as it is called.

use anyhow::{Context, Result};

const HEAD: &str = "let wasm_bindgen = (function(exports) {\n";
const TAIL: &str = "})({ __proto__: null });";
/// From here on the function knows how to fetch, compile and instantiate from whatever it is given.
const LOADERS: &str = "    let wasmModule, wasmInstance, wasm;\n";
/// What the package does without, each from its first to before its second text.
const NEEDLESS: [(&str, &str); 6] = [
    // Where the script is: the package says where the Wasm is.
    ("    let script_src;\n", "    /**\n     * A client."),
    // An instance goes with its only client: nobody has to give its memory back piece by piece.
    ("            CoreFinalization.unregister(this);\n", "            return ptr;"),
    ("            CoreFinalization.register(", "            return this;"),
    ("    const CoreFinalization", "    function getArrayU16FromWasm0("),
    // `free` by another name.
    ("    if (Symbol.dispose)", "    exports.Core = Core;"),
    // A way to pass strings that is quicker than TextEncoder alone; they are few and short.
    ("        let len = arg.length;\n", "    }\n\n    function takeFromExternrefTable0("),
];
/// In place of that: the package compiles the module by itself.
const LOADER: &str = "    let wasm;
    async function instantiate(module) {
        wasm = (await WebAssembly.instantiate(module, __wbg_get_imports())).exports;
        wasm.__wbindgen_start();
    }

    return Object.assign(instantiate, exports);
";

/// The JavaScript, exporting the function as `glue`.
pub(crate) fn module(script: &str) -> Result<String> {
    let (before, rest) = script.split_once(HEAD).context(CHANGED)?;
    let (body, after) = rest.rsplit_once(TAIL).context(CHANGED)?;
    let (body, _) = body.split_once(LOADERS).context(CHANGED)?;
    let mut body = body.to_owned();
    for (from, to) in NEEDLESS {
        body = without(&body, from, to)?;
    }
    let mut module = format!(
        "{before}export function glue() {{\n    const exports = {{ __proto__: null }};\n{body}{LOADER}}}{after}"
    );
    for (long, short) in short_names(script) {
        module = module.replace(&format!("{long}: function"), &format!("{short}: function"));
    }
    Ok(module)
}

/// The Wasm's text with the short names that `module` gives to what `script` offers to it.
pub(crate) fn imports(text: &str, script: &str) -> String {
    short_names(script).into_iter().fold(text.to_owned(), |text, (long, short)| {
        text.replace(&format!("\"{long}\""), &format!("\"{short}\""))
    })
}

/// The text without what is from `from` to before `to`.
fn without(text: &str, from: &str, to: &str) -> Result<String> {
    let (before, rest) = text.split_once(from).context(CHANGED)?;
    let end = rest.find(to).context(CHANGED)?;
    Ok(format!("{before}{}", &rest[end..]))
}

/// What the glue offers to the Wasm, under names with a hash each, and short names in their place.
fn short_names(script: &str) -> Vec<(&str, String)> {
    script
        .lines()
        .filter_map(|line| line.trim_start().split_once(": function("))
        .map(|(name, _)| name)
        .filter(|name| name.starts_with("__wb"))
        .enumerate()
        .map(|(index, name)| (name, format!("f{index}")))
        .collect()
}

/// Its types.
pub(crate) fn types(declarations: &str) -> String {
    format!(
        "{declarations}\nexport type Core = wasm_bindgen.Core;\nexport type Sink = wasm_bindgen.Sink;\n\
         /** What belongs to one instance of the Wasm; call it first. */\n\
         export function glue(): typeof wasm_bindgen &\n    \
         ((module: WebAssembly.Module) => Promise<unknown>);\n"
    )
}

const CHANGED: &str = "wasm-bindgen's output for --target no-modules has another shape than \
                       xtask/src/glue.rs expects; compare them";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_function_is_exported() {
        let needless: String = NEEDLESS.iter().map(|(from, to)| format!("{from}…{to}\n")).collect();
        let kept: String = NEEDLESS.iter().map(|(_, to)| format!("{to}\n")).collect();
        let script = format!(
            "{HEAD}{needless}        __wbg_a_0f: function(x) {{}},\n\
             {LOADERS}    return f;\n{TAIL}\n"
        );
        assert_eq!(
            module(&script).unwrap(),
            format!(
                "export function glue() {{\n    const exports = {{ __proto__: null }};\n{kept}        \
                 f0: function(x) {{}},\n{LOADER}}}\n"
            )
        );
        assert_eq!(
            imports("(import \"./a.js\" \"__wbg_a_0f\" (func $__wbg_a_0f))", &script),
            "(import \"./a.js\" \"f0\" (func $__wbg_a_0f))"
        );
    }

    #[test]
    fn another_shape_is_refused() {
        assert_eq!(module("export class Core {}").unwrap_err().to_string(), CHANGED);
    }
}
