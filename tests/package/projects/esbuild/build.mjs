import { copyFile } from 'node:fs/promises';
import { build } from 'esbuild';

const { warnings } = await build({
  absWorkingDir: import.meta.dirname,
  entryPoints: { main: 'main.js', worker: 'webbft/worker/script' },
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  loader: { '.wasm': 'file' },
  outdir: 'dist',
});
if (warnings.length > 0) process.exit(1);
await copyFile(`${import.meta.dirname}/index.html`, `${import.meta.dirname}/dist/index.html`);
