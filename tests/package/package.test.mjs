// The packed package, installed in projects as its users have them, against four real replicas.
// `cargo xtask test --only package` prepares the projects and sets the environment.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { launchBrowser } from '../browser/lib/browser.mjs';
import { startCluster } from '../browser/lib/cluster.mjs';
import { serve } from './serve.mjs';

const projects = process.env.WEBBFT_PROJECTS;
if (!projects) throw new Error('WEBBFT_PROJECTS is not set; run `cargo xtask test --only package`');

const EXPECTED = {
  idle: 'idle',
  connected: 4,
  put: { previous: null },
  votes: true,
  event: { value: 'agreed', numbered: true },
  read: { value: 'agreed' },
  refused: 'WebBftError REFUSED not-executed',
  aborted: 'ABORTED not-sent enough',
  late: 'CLOSED',
};
const EVERYWHERE = { beside: EXPECTED, inline: EXPECTED, worker: EXPECTED };

/** What a careful page allows itself; `scripts` differs between the tests. */
const policy = (scripts) =>
  `default-src 'none'; script-src 'self' ${scripts}; style-src 'self' 'unsafe-inline'; worker-src 'self'; ` +
  "connect-src 'self' http://127.0.0.1:* ws://127.0.0.1:*; img-src 'self'; font-src 'self'";

const LIMIT_MS = 60_000;
const CYCLES = 1_000;
/** Cycles before the first measurement: until then engines compile, and keep what they compiled. */
const WARM = 400;
/** By how many bytes the heap may differ then: less than one client with its links, a cycle. */
const GROWTH = 1_000_000;

let browser;
let cluster;
let view;

before(async () => {
  cluster = await startCluster({ service: 'kv', page: projects });
  view = `${cluster.replicas[0].url.replace(/\/$/, '')}/view.json`;
  browser = await launchBrowser();
});
after(async () => {
  await browser?.close();
  await cluster?.stop();
});

const run = promisify(execFile);

/** Runs a program in a project; an error shows what it printed. */
async function inProject(project, program, args, environment = {}) {
  const options = { cwd: join(projects, project), env: { ...process.env, ...environment } };
  try {
    return await run(program, args, options);
  } catch (error) {
    throw new Error(`${error.message}\n${error.stdout}`);
  }
}

const built = new Map();

/** Builds a project, once for all tests. */
function build(project) {
  if (!built.has(project)) built.set(project, inProject(project, 'node', ['build.mjs']));
  return built.get(project);
}

/** Opens a page, and gives what its script left in `outcome`. */
async function outcome(url) {
  const page = await browser.newPage();
  const errors = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (message) => {
    if (/Content.Security.Policy/i.test(message.text())) errors.push(message.text());
  });
  try {
    await page.goto(`${url}/?view=${encodeURIComponent(view)}`);
    await page
      .waitForFunction(() => globalThis.outcome, undefined, { timeout: LIMIT_MS })
      .catch((error) => {
        throw new Error(`${error.message}\n${errors.join('\n')}`);
      });
    const found = await page.evaluate(() => globalThis.outcome);
    assert.deepEqual(errors, []);
    return found;
  } finally {
    await page.close();
  }
}

async function served(project, scripts) {
  const server = await serve(join(projects, project, 'dist'), policy(scripts));
  try {
    return await outcome(server.url);
  } finally {
    await server.close();
  }
}

// Two at a time: most of them wait for programs of one thread.
describe('installed', { concurrency: 2 }, () => {
  for (const project of ['vite', 'webpack', 'esbuild']) {
    test(`${project}, built, under a strict policy`, async () => {
      await build(project);
      assert.deepEqual(await served(project, "'wasm-unsafe-eval'"), { result: EVERYWHERE });
    });
  }

  test('a policy without wasm-unsafe-eval is named in the error', async () => {
    await build('esbuild');
    const { error } = await served('esbuild', '');
    assert.match(
      error,
      /WASM_LOAD|Content-Security-Policy must allow script-src 'wasm-unsafe-eval'/,
    );
    assert.match(error, /wasm-unsafe-eval/);
  });

  test('vite, while developing', async () => {
    const dev = spawn('node', ['dev.mjs'], {
      cwd: join(projects, 'vite'),
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = new Promise((resolve) => dev.once('exit', resolve));
    try {
      const url = await Promise.race([
        new Promise((resolve) => dev.stdout.once('data', (text) => resolve(String(text).trim()))),
        ended.then((code) => Promise.reject(new Error(`vite ended with ${code}`))),
      ]);
      assert.deepEqual(await outcome(url.replace(/\/$/, '')), { result: EVERYWHERE });
    } finally {
      dev.kill('SIGTERM');
      await ended;
    }
  });

  test('Next, built and exported', async () => {
    const next = join(projects, 'node_modules/next/dist/bin/next');
    const environment = { NEXT_TELEMETRY_DISABLED: '1', CI: '1' };
    await inProject('next', 'node', [next, 'build'], environment);
    // Its pages have scripts in them.
    const found = await served('next', "'unsafe-inline' 'wasm-unsafe-eval'");
    assert.deepEqual(found, { result: EVERYWHERE });
  });

  test('workerd, the engine of an edge', async () => {
    await build('workerd');
    const program = join(projects, 'node_modules/.bin/workerd');
    const edge = spawn(program, ['serve', 'config.capnp', '--control-fd=3'], {
      cwd: join(projects, 'workerd'),
      stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
    });
    const ended = new Promise((resolve) => edge.once('exit', resolve));
    try {
      const { port } = await Promise.race([
        new Promise((resolve) => edge.stdio[3].once('data', (text) => resolve(JSON.parse(text)))),
        ended.then((code) => Promise.reject(new Error(`workerd ended with ${code}`))),
      ]);
      const address = `http://127.0.0.1:${port}/?view=${encodeURIComponent(view)}`;
      const response = await fetch(address, { signal: AbortSignal.timeout(LIMIT_MS) });
      const text = await response.text();
      assert.equal(response.status, 200, text);
      assert.deepEqual(JSON.parse(text), EXPECTED);
    } finally {
      edge.kill('SIGTERM');
      await ended;
    }
  });

  for (const entry of ['webbft', 'webbft/inline', 'webbft/worker']) {
    test(`Node, ${entry}`, async () => {
      const { stdout } = await inProject('runtime', 'node', ['use.mjs', view, entry]);
      assert.deepEqual(JSON.parse(stdout), EXPECTED);
    });
  }

  for (const [name, args] of [
    ['deno', ['run', '--quiet', '--no-prompt', '--node-modules-dir=manual', '-A']],
    ['bun', ['run']],
  ]) {
    for (const entry of ['webbft', 'webbft/inline', 'webbft/worker']) {
      test(`${name}, ${entry}`, async () => {
        const program = join(projects, 'node_modules/.bin', name);
        const all = [...args, 'use.mjs', view, entry];
        const { stdout } = await inProject('runtime', program, all, { DENO_NO_UPDATE_CHECK: '1' });
        assert.deepEqual(JSON.parse(stdout), EXPECTED);
      });
    }
  }
});

test(`${CYCLES} clients one after the other leave nothing in Node`, async () => {
  const args = ['--expose-gc', 'cycles.mjs', view, String(WARM), String(CYCLES)];
  const { stdout } = await inProject('runtime', 'node', args);
  const { before, after } = JSON.parse(stdout);
  assert.ok(after.heapUsed - before.heapUsed < GROWTH, stdout);
  assert.ok(after.external - before.external < GROWTH, stdout);
  assert.ok(after.resources <= before.resources, stdout);
});

test(`${CYCLES} clients one after the other leave nothing in Chromium`, async () => {
  const server = await serve(join(projects, 'node_modules/webbft'), policy("'wasm-unsafe-eval'"));
  try {
    const page = await browser.newPage();
    await page.goto(`${server.url}/package.json`);
    const session = await page.context().newCDPSession(page);
    const cycles = (count) =>
      page.evaluate(
        async ([view, count]) => {
          const { createClient } = await import('/dist/index.js');
          globalThis.view ??= await (await fetch(view)).json();
          for (let done = 0; done < count; done++) {
            const client = createClient({ view: globalThis.view });
            await client.connect();
            await client.close();
          }
        },
        [view, count],
      );
    const held = async () => {
      await session.send('HeapProfiler.enable');
      await session.send('HeapProfiler.collectGarbage');
      await session.send('HeapProfiler.collectGarbage');
      const { usedSize } = await session.send('Runtime.getHeapUsage');
      return usedSize;
    };
    await cycles(WARM);
    const before = await held();
    await cycles(CYCLES);
    const after = await held();
    assert.ok(after - before < GROWTH, `${before} bytes before, ${after} after`);
    await page.close();
  } finally {
    await server.close();
  }
});
