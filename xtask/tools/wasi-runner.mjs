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
const module = await WebAssembly.compile(await readFile(program));
const instance = await WebAssembly.instantiate(module, wasi.getImportObject());
process.exitCode = wasi.start(instance);
