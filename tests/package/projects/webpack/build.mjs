import { copyFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import webpack from 'webpack';

const stats = await promisify(webpack)({
  context: import.meta.dirname,
  mode: 'production',
  entry: './main.js',
  output: { path: `${import.meta.dirname}/dist` },
});
if (stats.hasErrors() || stats.hasWarnings()) {
  console.error(stats.toString());
  process.exit(1);
}
await copyFile(`${import.meta.dirname}/index.html`, `${import.meta.dirname}/dist/index.html`);
