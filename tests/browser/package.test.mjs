// The npm package as it is built, without a bundler: in a page and in a module worker, over HTTP, behind
// a proxy that refuses WebSockets, in a network that comes and goes, and in tabs that share an identity.

import assert from 'node:assert/strict';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launchBrowser } from './lib/browser.mjs';
import { startCluster } from './lib/cluster.mjs';
import { proxied } from './lib/proxy.mjs';
import { until } from './lib/wait.mjs';

const PACKAGE = fileURLToPath(new URL('../../js/webbft', import.meta.url));
const LIMIT_MS = 30_000;

/** Puts a value, gets the event, reads the value, and closes. */
const USE = `import { createClient } from './dist/index.js';
export async function use(key) {
  const view = await (await fetch('/view.json')).json();
  const client = createClient({ view });
  await client.connect();
  const event = new Promise((resolve) => client.invokeSubscribe('kv', resolve));
  const before = await client.invokeUnordered('get', { key });
  const put = await client.invoke('put', { key, value: 'agreed' }).verified();
  const { value, number } = await event;
  const after = await client.invokeUnordered('get', { key });
  await client.close();
  const { needed, matching } = put.evidence;
  return { before, put: put.value, votes: matching.length >= needed, event: value,
    numbered: number > 0n, after, phase: client.status.phase };
}
`;
const WORKER = `import { use } from './use.js';
use('worker').then((result) => postMessage({ result }), (error) => postMessage({ error: String(error) }));
`;
/** What the other pages do; `client` stays open. */
const SCRIPT = `// As on plain HTTP, but for the loopback address.
Object.defineProperty(Crypto.prototype, 'subtle', { get() { throw new Error('there is no crypto.subtle'); } });
import { createClient } from './dist/index.js';
import { createClient as createInWorker } from './dist/worker.js';
globalThis.open = async (options, { worker, wait = 'all' } = {}) => {
  globalThis.view ??= await (await fetch('/view.json')).json();
  const create = worker ? createInWorker : createClient;
  globalThis.client = create({ view, timeoutMs: ${LIMIT_MS}, ...options });
  globalThis.events = [];
  globalThis.causes = new Set();
  client.on('reconnect', ({ cause }) => causes.add(cause));
  await client.connect({ wait });
  await client.invokeSubscribe('kv', ({ value, gapBefore }) => events.push([value.key, value.value, gapBefore])).ready;
};
globalThis.put = (key, value) => client.invoke('put', { key, value });
globalThis.get = (key) => client.invokeUnordered('get', { key });
globalThis.transports = () => client.status.replicas.map(({ transport }) => transport);
globalThis.loaded = true;
`;

let folder;
let browser;
let cluster;
let view;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'webbft-package-'));
  for (const part of ['dist', 'wasm']) {
    await cp(join(PACKAGE, part), join(folder, part), { recursive: true });
  }
  await writeFile(join(folder, 'use.js'), USE);
  await writeFile(join(folder, 'worker.js'), WORKER);
  await writeFile(join(folder, 'script.js'), SCRIPT);
  const html =
    '<!doctype html><title>package</title><script type="module" src="/script.js"></script>';
  await writeFile(join(folder, 'index.html'), html);
  cluster = await startCluster({ service: 'kv', page: folder });
  view = await (await fetch(new URL('/view.json', cluster.replicas[0].url))).json();
  browser = await launchBrowser();
});
after(async () => {
  await browser?.close();
  await cluster?.stop();
  if (folder) await rm(folder, { recursive: true, force: true });
});

async function load(page) {
  await page.goto(cluster.replicas[0].url);
  await page.waitForFunction(() => globalThis.loaded);
  return page;
}

function expected(key) {
  return {
    before: { value: null },
    put: { previous: null },
    votes: true,
    event: { key, value: 'agreed' },
    numbered: true,
    after: { value: 'agreed' },
    phase: 'closed',
  };
}

test('in a page', async () => {
  const page = await browser.newPage();
  await page.goto(cluster.replicas[0].url);
  const result = await page.evaluate(async () => (await import('/use.js')).use('page'));
  assert.deepEqual(result, expected('page'));
});

test('in a module worker', async () => {
  const page = await browser.newPage();
  await page.goto(cluster.replicas[1].url);
  const answer = await page.evaluate(
    () =>
      new Promise((resolve, reject) => {
        const worker = new Worker('/worker.js', { type: 'module' });
        worker.onmessage = (message) => resolve(message.data);
        worker.onerror = (event) => reject(new Error(event.message));
      }),
  );
  assert.deepEqual(answer, { result: expected('worker') });
});

/** Writes three values, and waits until the page has their events and reads the last one. */
async function exchange(page, key) {
  const values = ['1', '2', '3'];
  for (const value of values) await page.evaluate(([key, value]) => put(key, value), [key, value]);
  const expected = JSON.stringify(values.map((value) => [key, value, false]));
  await until(
    'the events are there',
    async () =>
      JSON.stringify(await page.evaluate((key) => events.filter(([of]) => of === key), key)) ===
      expected,
    { otherwise: () => page.evaluate(() => JSON.stringify(events)) },
  );
  assert.deepEqual(await page.evaluate((key) => get(key), key), { value: '3' });
}

for (const worker of [false, true]) {
  const where = worker ? 'a worker' : 'a page';
  test(`links over HTTP, from ${where}`, async () => {
    const page = await load(await browser.newPage());
    await page.evaluate((worker) => open({ transport: 'http' }, { worker }), worker);
    assert.deepEqual(await page.evaluate(() => transports()), Array(4).fill('http'));
    await exchange(page, `http from ${where}`);
    await page.evaluate(() => client.close());
    await page.close();
  });
}

test('where a proxy refuses WebSockets, links are over HTTP', async () => {
  const proxies = await proxied(view, { webSockets: false });
  try {
    const page = await load(await browser.newPage());
    await page.evaluate((view) => {
      globalThis.view = view;
      return open({});
    }, proxies.view);
    assert.deepEqual(await page.evaluate(() => transports()), Array(4).fill('http'));
    assert.deepEqual(proxies.refused(), [2, 2, 2, 2]);
    await exchange(page, 'through a proxy');
    await page.evaluate(() => client.close());
    await page.close();
  } finally {
    await proxies.close();
  }
});

test('lost links are dialled at once when the browser says that they may be had again', async () => {
  const proxies = await proxied(view);
  try {
    const page = await load(await browser.newPage());
    const never = 3_600_000;
    await page.evaluate(
      ([view, never]) => {
        globalThis.view = view;
        return open({ reconnect: { minMs: never, maxMs: never } });
      },
      [proxies.view, never],
    );
    const phase = (wanted) => async () =>
      (await page.evaluate(() => client.status.phase)) === wanted;
    for (const [event, cause] of [
      ['online', 'online'],
      ['visibilitychange', 'visible'],
      ['pageshow', 'visible'],
    ]) {
      proxies.cut();
      await until('every link is lost', phase('offline'));
      proxies.mend();
      await page.evaluate((event) => {
        causes.clear();
        (event === 'visibilitychange' ? document : window).dispatchEvent(new Event(event));
      }, event);
      await until(`every link is back after ${event}`, phase('ready'));
      assert.deepEqual(await page.evaluate(() => [...causes]), [cause]);
    }
    assert.deepEqual(await page.evaluate(() => transports()), Array(4).fill('websocket'));
    await exchange(page, 'after three losses');
    await page.evaluate(() => client.close());
    await page.close();
  } finally {
    await proxies.close();
  }
});

test('tabs that begin together are one client, and a reload is the same one', async () => {
  const context = await browser.newContext();
  try {
    const [first, second] = await Promise.all([context.newPage(), context.newPage()]);
    await Promise.all([load(first), load(second)]);
    const id = (page) => page.evaluate(() => client.clientId);
    await Promise.all([first, second].map((page) => page.evaluate(() => open({}))));
    const [one, other] = [await id(first), await id(second)];
    assert.match(one, /^[0-9a-f]{32}$/);
    assert.equal(other, one);
    // Each has a session of its own: calls of both are executed, and both get all events.
    await Promise.all([exchange(first, 'tab 1'), exchange(second, 'tab 2')]);
    const all = async (page) => (await page.evaluate(() => events.length)) === 6;
    for (const page of [first, second]) await until('all events are there', () => all(page));

    await load(first);
    await first.evaluate(() => open({}));
    assert.equal(await id(first), one);
    await exchange(first, 'after a reload');
    // In the worker of the same page, too; and one that is to be nobody is another.
    await first.evaluate(() => client.close().then(() => open({}, { worker: true })));
    assert.equal(await id(first), one);
    await first.evaluate(() => client.close().then(() => open({ identity: 'ephemeral' })));
    assert.notEqual(await id(first), one);
    for (const page of [first, second]) await page.evaluate(() => client.close());
  } finally {
    await context.close();
  }
});
