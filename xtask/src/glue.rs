//! Makes a small module of what wasm-bindgen writes for `--target no-modules`.
//!
//! Its module targets keep one Wasm instance in a variable of the module, for good: after a panic
//! the page would have to be reloaded. Its output for classic scripts is a function around that
//! variable. Exported instead of called, it makes an instance as often as it is called.
//!
//! What this package has no use for is left out, since every page downloads it: fetching, which the
//! package does itself; freeing what was collected, which goes with its instance; writing strings without an encoder; and the
//! hashes in the names of imports, which say nothing and cannot be compressed.

use anyhow::{Context, Result, bail};

const HEAD: &str = "let wasm_bindgen = (function(exports) {\n";
const SCRIPT: (&str, &str) = ("    let script_src;\n", "    /**\n");
const LOADER: &str = "    let wasmModule, wasmInstance, wasm;\n";
const REGISTRY: (&str, &str) = ("    const CoreFinalization = ", "    function ");
/// What the output has and this package needs less of: a client in a page is freed by `close`, its memory
/// is looked at anew each time, numbers are numbers, and nothing fails half way into a call.
const PLAINER: [(&str, &str); 8] = [
    ("    if (Symbol.dispose) Core.prototype[Symbol.dispose] = Core.prototype.free;\n", ""),
    (
        "        __destroy_into_raw() {\n            const ptr = this.__wbg_ptr;\n            \
         this.__wbg_ptr = 0;\n            return ptr;\n        }\n",
        "",
    ),
    (
        "            const ptr = this.__destroy_into_raw();\n            wasm.__wbg_core_free(ptr, 0);\n",
        "            wasm.__wbg_core_free(this.__wbg_ptr, 0);\n",
    ),
    ("            const val2 = +(isLikeNone(timeout) ? 0 : timeout);\n", ""),
    ("!isLikeNone(timeout), val2)", "!isLikeNone(timeout), timeout ?? 0)"),
    ("    cachedTextDecoder.decode();\n", ""),
    ("            const val2 = +replica;\n", ""),
    (
        "wasm.core_socketMessage(this.__wbg_ptr, val2, ",
        "wasm.core_socketMessage(this.__wbg_ptr, replica, ",
    ),
];
/// The views of the Wasm's memory that it keeps for as long as they are valid.
const KEPT: [&str; 2] = ["DataView", "Uint8Array"];
/// Writing ASCII in place is faster than encoding, for texts that are longer than a view has.
const IN_PLACE: (&str, &str) = ("        let len = arg.length;\n", "    function ");
const FALLBACK: (&str, &str) = ("    if (!('encodeInto' in ", "    let ");
const TAIL: &str = "    let wasm;
    async function instantiate(module) {
        const given = Object.values(__wbg_get_imports())[0];
        const imports = {};
        for (const { module: from, name } of WebAssembly.Module.imports(module)) {
            (imports[from] ??= {})[name] = given[name.replace(/_[0-9a-f]{16}$/, '')];
        }
        wasm = (await WebAssembly.instantiate(module, imports)).exports;
        wasm.__wbindgen_start();
    }
    return Object.assign(instantiate, exports);
}
";

/// The JavaScript, exporting the function as `glue`.
pub(crate) fn module(script: &str) -> Result<String> {
    let (before, rest) = script.split_once(HEAD).context(CHANGED)?;
    let (body, _) = rest.split_once(LOADER).context(CHANGED)?;
    let body = without(&without(body, SCRIPT)?, REGISTRY)?;
    let body = without(&body, FALLBACK)?;
    let (body, strings) = body.split_once(IN_PLACE.0).context(CHANGED)?;
    let (_, strings) = strings.split_once(IN_PLACE.1).context(CHANGED)?;
    let body = body.replace("if (realloc === undefined) {", "{");
    let body = [&body, "    }\n\n", IN_PLACE.1, strings].concat();
    let mut text =
        format!("{before}export function glue() {{\n    const exports = {{ __proto__: null }};\n");
    for line in body.lines().filter(|line| !line.contains("CoreFinalization.")) {
        text.push_str(&without_hash(line));
        text.push('\n');
    }
    Ok(plainer(text)? + TAIL)
}

/// With [`PLAINER`] and without the memory views that are kept.
fn plainer(mut body: String) -> Result<String> {
    for (from, to) in PLAINER {
        if !body.contains(from) {
            bail!(CHANGED);
        }
        body = body.replace(from, to);
    }
    for name in KEPT {
        let start = format!("    let cached{name}Memory0 = null;\n");
        let (before, rest) = body.split_once(&start).context(CHANGED)?;
        let (_, after) = rest.split_once("\n    }\n").context(CHANGED)?;
        body = format!(
            "{before}    const get{name}Memory0 = () => new {name}(wasm.memory.buffer);\n{after}"
        );
    }
    Ok(body)
}

/// Its types.
pub(crate) fn types(declarations: &str) -> Result<String> {
    let (body, _) = declarations.split_once("declare type InitInput").context(CHANGED)?;
    let body = body.replace("        [Symbol.dispose](): void;\n", "");
    Ok(format!(
        "{body}\nexport type Core = wasm_bindgen.Core;\nexport type Sink = wasm_bindgen.Sink;\n\
         /** What belongs to one instance of the Wasm; to be called before the rest is used. */\n\
         export interface Instance {{\n    (module: WebAssembly.Module): Promise<void>;\n    \
         readonly Core: typeof wasm_bindgen.Core;\n    \
         readonly panicMessage: typeof wasm_bindgen.panicMessage;\n}}\n\
         export function glue(): Instance;\n"
    ))
}

/// Leaves out what begins with the first text, up to the second.
fn without(text: &str, (from, to): (&str, &str)) -> Result<String> {
    let (before, rest) = text.split_once(from).context(CHANGED)?;
    let end = rest.find(to).context(CHANGED)?;
    Ok([before, &rest[end..]].concat())
}

/// `__wbg_name_0123456789abcdef: function(` becomes `__wbg_name: function(`.
fn without_hash(line: &str) -> String {
    let Some((name, rest)) = line.split_once(": function(") else { return line.to_owned() };
    let name = match name.rsplit_once('_') {
        Some((short, hash))
            if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
        {
            short
        }
        _ => name,
    };
    [name, ": function(", rest].concat()
}

const CHANGED: &str = "wasm-bindgen's output for --target no-modules has another shape than \
                       xtask/src/glue.rs expects; compare them";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_function_is_exported_without_what_is_not_needed() {
        let more: String = PLAINER.iter().map(|(from, _)| *from).collect();
        let less: String = PLAINER.iter().map(|(_, to)| *to).collect();
        let kept = KEPT.map(|name| {
            format!(
                "    let cached{name}Memory0 = null;\n    function get() {{\n        x;\n    }}\n"
            )
        });
        let anew = KEPT.map(|name| {
            format!("    const get{name}Memory0 = () => new {name}(wasm.memory.buffer);\n")
        });
        let (kept, anew) = (kept.concat(), anew.concat());
        let script = format!(
            "{HEAD}    let script_src;\n    if (x) {{}}\n\n    /**\n     * Docs.\n     */\n    \
             class Core {{\n            CoreFinalization.unregister(this);\n    }}\n            \
             __wbg_open_9b2fb78b46991b8e: function(arg0) {{\n            \
             __wbindgen_init: function() {{\n    const CoreFinalization = x;\n\n    \
             function f() {{}}\n    function passStringToWasm0() {{\n        if (realloc === undefined) \
             {{\n        }}\n        let len = arg.length;\n    }}\n\n    function g() {{}}\n    \
             if (!('encodeInto' in x)) {{\n    }}\n\n    let y;\n{more}{kept}{LOADER}    rest\n}})({{ __proto__: null }});\n"
        );
        assert_eq!(
            module(&script).unwrap(),
            format!(
                "export function glue() {{\n    const exports = {{ __proto__: null }};\n    /**\n     \
                 * Docs.\n     */\n    class Core {{\n    }}\n            \
                 __wbg_open: function(arg0) {{\n            __wbindgen_init: function() {{\n    \
                 function f() {{}}\n    function passStringToWasm0() {{\n        {{\n        }}\n    \
                 }}\n\n    function g() {{}}\n    let y;\n{less}{anew}{TAIL}"
            )
        );
    }

    #[test]
    fn another_shape_is_refused() {
        assert_eq!(module("export class Core {}").unwrap_err().to_string(), CHANGED);
        assert_eq!(types("export class Core {}").unwrap_err().to_string(), CHANGED);
    }
}
