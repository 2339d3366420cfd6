// Prints, as JSON, what a bundler makes of each entry, and what the Wasm holds besides code.
// Fails where an entry awaits at its top level. Usage: node scripts/measure.mjs

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const bundle = async (source, format) => {
  const { outputFiles } = await build({
    stdin: { contents: source, resolveDir: root },
    bundle: true,
    minify: true,
    write: false,
    target: 'es2022',
    logLevel: 'error',
    // What has no address in the other format; whoever loads it so says where the Wasm is.
    logOverride: { 'empty-import-meta': 'silent' },
    format,
  });
  return outputFiles[0].contents;
};

const bundles = [];
for (const entry of ['webbft', 'webbft/inline', 'webbft/worker']) {
  const source = `import { createClient } from '${entry}'; globalThis.createClient = createClient;`;
  const code = await bundle(source, 'esm');
  // This format has no way to write a top-level await.
  await bundle(source, 'iife');
  bundles.push({ entry, bytes: code.length, gzip: gzipSync(code, { level: 9 }).length });
}
const unused = await bundle(
  `import 'webbft'; import 'webbft/inline'; import 'webbft/worker';`,
  'esm',
);

const wasm = await WebAssembly.compile(readFileSync(`${root}/wasm/webbft_client_wasm_bg.wasm`));
const sections = ['name', 'producers', '.debug_info', '.debug_line', 'sourceMappingURL'].filter(
  (name) => WebAssembly.Module.customSections(wasm, name).length > 0,
);
console.log(JSON.stringify({ bundles, unused: unused.length, sections }));
