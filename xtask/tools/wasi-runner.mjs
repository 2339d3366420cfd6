// Runs a wasm32-wasip1 program under Node: `node wasi-runner.mjs PROGRAM.wasm ARG…`.
// Cargo calls it as CARGO_TARGET_WASM32_WASIP1_RUNNER, with the package's folder as working
// directory. The program sees the workspace (for test data) and nothing else of the file system.
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { WASI } from 'node:wasi';

const workspace = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const [program, ...args] = process.argv.slice(2);
const wasi = new WASI({
  version: 'preview1',
  args: [program, ...args],
  env: { ...process.env, PWD: process.cwd() },
  preopens: { [workspace]: workspace, '.': process.cwd() },
  returnOnExit: true,
});
// Node 20 lets compiled Wasm call its WASI functions directly (V8's fast API calls), and that
// destroys the native stack once the memory has grown: the process crashes after the last test.
// A JavaScript function in between is called the ordinary way.
const imports = Object.fromEntries(
  Object.entries(wasi.getImportObject()).map(([module, functions]) => [
    module,
    Object.fromEntries(
      Object.entries(functions).map(([name, call]) => [name, (...values) => call(...values)]),
    ),
  ]),
);
const module = await WebAssembly.compile(await readFile(program));
const instance = await WebAssembly.instantiate(module, imports);
process.exitCode = wasi.start(instance);
