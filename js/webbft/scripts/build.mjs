// Builds dist/: the compiled TypeScript, and the module that holds the Wasm for `webbft/inline`.
// `cargo xtask build` makes wasm/ and calls this.

import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { deflateSync } from 'node:zlib';

const at = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));

rmSync(at('dist'), { recursive: true, force: true });
const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');
const { status } = spawnSync(process.execPath, [tsc, '-p', at('tsconfig.build.json')], {
  stdio: 'inherit',
});
if (status !== 0) process.exit(status ?? 1);

let wasm;
try {
  wasm = readFileSync(at('wasm/webbft_client_wasm_bg.wasm'));
} catch (error) {
  console.error(`${error.message}\nThe Wasm is made by: cargo xtask build`);
  process.exit(1);
}
const encoded = deflateSync(wasm, { level: 9 }).toString('base64');
writeFileSync(at('dist/inline-wasm.js'), `export default '${encoded}';\n`);
writeFileSync(
  at('dist/inline-wasm.d.ts'),
  `declare const compressed: string;\nexport default compressed;\n`,
);
