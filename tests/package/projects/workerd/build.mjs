import { copyFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

await build({
  entryPoints: ['worker.js'],
  bundle: true,
  format: 'esm',
  outfile: 'dist/worker.js',
  // The engine compiles it, as config.capnp says.
  external: ['webbft/wasm'],
});
await copyFile(fileURLToPath(import.meta.resolve('webbft/wasm')), 'dist/webbft.wasm');
