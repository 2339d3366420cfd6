// docs/guides/first-service.md, followed line by line: its files are written to target/guide/poll,
// its commands run there, and its page is used in Chromium.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launchBrowser } from './lib/browser.mjs';
import { freeBasePort } from './lib/cluster.mjs';
import { readGuide } from './lib/guide.mjs';
import { until } from './lib/wait.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const TARGET = process.env.CARGO_TARGET_DIR ?? join(ROOT, 'target');
const PROJECT = join(TARGET, 'guide', 'poll');

/** Below this workspace a project must say that it is none of its members; the rest saves time. */
const HERE = `[workspace]
${['protocol', 'client', 'replica', 'examples', 'typescript']
  .map((name) => `[profile.dev.package.webbft-${name}]\nopt-level = 0\n`)
  .join('')}`;

let guide;
let cluster;
let clusterLog = '';
let ended;
let browser;
let base;

/** Runs a line of the guide; what it printed on standard output. */
async function sh(line, directory = PROJECT) {
  const env = { ...process.env, CARGO_TARGET_DIR: TARGET, CARGO_NET_OFFLINE: 'true' };
  const child = spawn('sh', ['-c', line], { cwd: directory, env });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (text) => {
    stdout += text;
  });
  child.stderr.on('data', (text) => {
    stderr += text;
  });
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  assert.equal(code, 0, `${line}\nended with ${code}:\n${stdout}${stderr}`);
  return stdout;
}

before(async () => {
  guide = readGuide(await readFile(join(ROOT, 'docs/guides/first-service.md'), 'utf8'));
  await rm(PROJECT, { recursive: true, force: true });
  // The guide's clone is this one, wherever it is.
  const clone = relative(PROJECT, ROOT);
  for (const [name, text] of guide.files) {
    const path = join(PROJECT, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text.replaceAll('"../webbft/', `"${clone}/`));
  }
  const manifest = join(PROJECT, 'Cargo.toml');
  await writeFile(manifest, `${await readFile(manifest, 'utf8')}\n${HERE}`);
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  if (cluster?.exitCode === null) {
    cluster.kill('SIGTERM');
    await ended;
  }
});

test('the crate builds, its tests pass and write the TypeScript types', async () => {
  const clone = relative(PROJECT, ROOT);
  for (const line of guide.commands.get('')) await sh(line.replace('../webbft/', `${clone}/`));
  const types = await readFile(join(PROJECT, 'page/poll.ts'), 'utf8');
  assert.match(types, /vote: \{ req: Request<'vote'>; res: Tally \};/);
  await sh('cargo test');
});

test('a file of types that is out of date fails the test, which says what to do', async () => {
  const path = join(PROJECT, 'page/poll.ts');
  const types = await readFile(path, 'utf8');
  await writeFile(path, types.replace('cats', 'birds'));
  await assert.rejects(sh('cargo test'), /WEBBFT_UPDATE_TYPESCRIPT=1 cargo test -p poll poll/);
  await writeFile(path, types);
});

test('the page is type-checked and built', async () => {
  const page = join(PROJECT, 'page');
  // What `npm install` would fetch is in the workspace of the packages already.
  await symlink(join(ROOT, 'js/node_modules'), join(page, 'node_modules'));
  const lines = guide.commands.get('page');
  assert.equal(lines.shift(), 'npm install');
  for (const line of lines) await sh(line, page);

  const main = join(page, 'main.ts');
  const text = await readFile(main, 'utf8');
  await writeFile(main, text.replace("['cats', 'dogs']", "['cats', 'birds']"));
  await assert.rejects(sh('npx tsc', page), /'"birds"' is not assignable|not assignable to/);
  await writeFile(main, text);
});

test('two pages vote, and both show what the honest replicas agree on', async () => {
  base = await freeBasePort(4);
  const [line, ...more] = guide.commands.get('cluster');
  assert.deepEqual(more, []);
  const [, ...args] = line.split(' ');
  cluster = spawn('cargo', [...args, '--base-port', String(base)], {
    cwd: PROJECT,
    env: { ...process.env, CARGO_TARGET_DIR: TARGET, CARGO_NET_OFFLINE: 'true' },
  });
  ended = new Promise((resolve) => cluster.once('exit', resolve));
  for (const stream of [cluster.stdout, cluster.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      clusterLog = (clusterLog + text).slice(-4000);
    });
  }
  const description = join(PROJECT, '.webbft/cluster.json');
  await until(
    'the replicas serve',
    () => cluster.exitCode === null && readFile(description, 'utf8').catch(() => null),
    { limitMs: 60_000, otherwise: () => clusterLog },
  );

  const pages = [];
  for (const port of [base, base + 1]) {
    const page = await (await browser.newContext()).newPage();
    page.on('pageerror', (error) => assert.fail(error));
    await page.goto(`http://127.0.0.1:${port}/`);
    pages.push(page);
  }
  const shows = (page, id, pattern) =>
    until(`#${id} shows ${pattern}`, async () => pattern.test(await page.textContent(`#${id}`)), {
      otherwise: () => page.textContent('body'),
    });
  for (const page of pages) await shows(page, 'tally', /^0 for cats, 0 for dogs$/);
  await pages[0].click('#cats');
  await shows(pages[0], 'votes', /^agreed by replicas 0, 1, 2$/);
  for (const page of pages) await shows(page, 'tally', /^1 for cats, 0 for dogs$/);
  await pages[1].click('#dogs');
  for (const page of pages) await shows(page, 'tally', /^1 for cats, 1 for dogs$/);
  await pages[0].click('#dogs');
  for (const page of pages) await shows(page, 'tally', /^0 for cats, 2 for dogs$/);

  const [invoke, query, status] = guide.commands.get('other');
  assert.deepEqual(JSON.parse(await sh(invoke)), { ok: { cats: 1, dogs: 2 } });
  for (const page of pages) await shows(page, 'tally', /^1 for cats, 2 for dogs$/);
  assert.deepEqual(JSON.parse(await sh(query)), { ok: { cats: 1, dogs: 2 } });
  await sh(status);
});
