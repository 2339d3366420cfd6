// The quickstart of js/webbft/README.md as it stands there, in Node, against four real replicas of
// which one lies.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { startCluster } from './lib/cluster.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const JS = join(ROOT, 'js');
const FOLDER = join(process.env.CARGO_TARGET_DIR ?? join(ROOT, 'target'), 'guide', 'quickstart');
const ts = createRequire(join(JS, 'package.json'))('typescript');

let cluster;
let readme;

before(async () => {
  readme = await readFile(join(JS, 'webbft/README.md'), 'utf8');
  await rm(FOLDER, { recursive: true, force: true });
  await mkdir(FOLDER, { recursive: true });
  await symlink(join(JS, 'node_modules'), join(FOLDER, 'node_modules'));
  await cp(join(ROOT, 'examples/typescript/kv.ts'), join(FOLDER, 'kv.ts'));
  cluster = await startCluster({ service: 'kv', byzantine: '3=lie', page: FOLDER });
});
after(() => cluster?.stop());

test('the quickstart type-checks, runs, and prints what the README says', async () => {
  const code = /\n## Quickstart\n[\s\S]*?```ts\n([\s\S]*?)```/.exec(readme)[1];
  const said = 'http://127.0.0.1:7100';
  assert.ok(code.includes(said));
  const source = code.replace(said, cluster.replicas[0].url);
  await writeFile(join(FOLDER, 'main.ts'), source);
  const options = {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    lib: ['lib.es2022.d.ts', 'lib.dom.d.ts', 'lib.esnext.disposable.d.ts'],
    types: [],
  };
  const program = ts.createProgram([join(FOLDER, 'main.ts')], options);
  const errors = ts.getPreEmitDiagnostics(program);
  assert.deepEqual(
    errors.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n')),
    [],
  );

  const { outputText } = ts.transpileModule(source, { compilerOptions: options });
  await writeFile(join(FOLDER, 'main.mjs'), outputText);
  const run = promisify(execFile)(process.execPath, ['main.mjs'], {
    cwd: FOLDER,
    timeout: 30_000,
  });
  const { stdout } = await run.catch((error) =>
    assert.fail(`${error}\n${error.stdout}${error.stderr}`),
  );
  const printed = /```text\n([\s\S]*?)```/.exec(readme)[1];
  const lines = (text) =>
    text
      .trim()
      .replace(/ \d+n$/m, ' 0n')
      .split('\n');
  // How often the liar is caught before the client closes depends on how quick it is.
  const suspected = 'replica 3: divergent';
  const agreed = (text) => lines(text).filter((line) => line !== suspected);
  assert.ok(lines(printed).includes(suspected));
  assert.deepEqual(agreed(stdout), agreed(printed));
});
