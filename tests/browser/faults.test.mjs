// The package in a page, while replicas misbehave, stop and come back.

import assert from 'node:assert/strict';
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launchBrowser } from './lib/browser.mjs';
import { startCluster } from './lib/cluster.mjs';
import { until } from './lib/wait.mjs';

const PACKAGE = fileURLToPath(new URL('../../js/webbft', import.meta.url));
/** Answers are waited for this long where there should be none. */
const SHORT_MS = 1_500;

/** What the pages do: `client` stays open between the steps of a test. */
const SCRIPT = `import { createClient, WebBftError } from './dist/index.js';
const view = await (await fetch('/view.json')).json();
globalThis.open = async (options, wait = 'quorum') => {
  globalThis.client = createClient({ view, ...options });
  globalThis.events = [];
  await client.connect({ wait });
};
globalThis.follow = () =>
  client.invokeSubscribe('kv', ({ value, gapBefore }) => events.push([value.value, gapBefore])).ready;
const told = (promise) =>
  promise.then(
    (value) => ({ value }),
    (error) => ({ is: WebBftError.is(error), code: error.code, message: error.message,
      outcome: error.outcome, retryable: error.retryable, quorum: error.quorum }),
  );
globalThis.put = async (value, options) => {
  const { value: answer, ...error } = await told(client.invoke('put', { key: 'k', value }, options).verified());
  return answer ? { previous: answer.value.previous, matching: answer.evidence.matching } : error;
};
globalThis.get = () => told(client.invokeUnordered('get', { key: 'k' }));
globalThis.start = (options) => {
  const client = createClient({ view, ...options });
  return told(client.connect()).finally(() => client.close());
};
globalThis.loaded = true;
`;

let folder;
let browser;
let cluster;
const stopped = [];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'webbft-faults-'));
  for (const part of ['dist', 'wasm']) {
    await cp(join(PACKAGE, part), join(folder, part), { recursive: true });
  }
  await writeFile(join(folder, 'script.js'), SCRIPT);
  const html =
    '<!doctype html><title>faults</title><script type="module" src="/script.js"></script>';
  await writeFile(join(folder, 'index.html'), html);
  await writeFile(join(folder, 'page.html'), html);
  browser = await launchBrowser();
});
after(async () => {
  await browser?.close();
  if (folder) await rm(folder, { recursive: true, force: true });
});
afterEach(async () => {
  resume();
  const stopping = cluster;
  cluster = undefined;
  await stopping?.stop();
});

async function open(options = {}) {
  cluster = await startCluster({ service: 'kv', page: folder, ...options });
  const page = await browser.newPage();
  await page.goto(cluster.replicas[0].url);
  await page.waitForFunction(() => globalThis.loaded);
  return page;
}

/** Stops replicas until `resume`. The signal is sent at once, but each thread stops by and by. */
async function pause(ids) {
  for (const id of ids) {
    const { pid } = cluster.replicas[id];
    process.kill(pid, 'SIGSTOP');
    stopped.push(pid);
    if (process.platform !== 'linux') continue;
    await until(`every thread of replica ${id} has stopped`, async () => {
      const tasks = `/proc/${pid}/task`;
      const threads = await readdir(tasks);
      const stats = threads.map((thread) => readFile(`${tasks}/${thread}/stat`, 'utf8'));
      // The state is after the name, which is in parentheses.
      return (await Promise.all(stats)).every((stat) => /\) T [^)]*$/.test(stat));
    });
  }
}

function resume() {
  for (const pid of stopped.splice(0)) process.kill(pid, 'SIGCONT');
}

const status = (page) => page.evaluate(() => JSON.parse(JSON.stringify(client.status)));

for (const [kind, reason] of [
  ['lie', 'divergent'],
  ['mute', undefined],
  ['slow', undefined],
]) {
  test(`one replica: ${kind}`, async () => {
    const page = await open({ byzantine: `3=${kind}` });
    await page.evaluate(() => open({}));
    await page.evaluate(() => follow());
    for (const value of ['1', '2', '3']) {
      const { matching } = await page.evaluate((value) => put(value), value);
      const honest = matching.filter((id) => id !== 3);
      assert.ok(honest.length >= 2, `replicas ${matching} matched`);
      if (kind !== 'slow') assert.deepEqual(matching, honest);
    }
    assert.deepEqual(await page.evaluate(() => get()), { value: { value: '3' } });
    const expected = ['1', '2', '3'].map((value) => [value, false]);
    await until('all events are there', async () => {
      const events = await page.evaluate(() => events);
      return String(events) === String(expected);
    });
    if (reason) {
      await until(
        `replica 3 is suspected as ${reason}`,
        async () => (await status(page)).replicas[3].suspect?.reason === reason,
        { otherwise: async () => JSON.stringify(await status(page)) },
      );
    }
    const { replicas } = await status(page);
    assert.deepEqual(
      replicas.slice(0, 3).map(({ suspect }) => suspect?.reason),
      [undefined, undefined, undefined],
    );
    await page.evaluate(() => client.close());
    await page.close();
  });
}

test('with f + 1 replicas stopped a call names who is silent; it succeeds when they are back', async () => {
  const page = await open();
  await page.evaluate(() => open({}, 'all'));
  assert.deepEqual((await page.evaluate(() => put('before'))).previous, null);
  await pause([2, 3]);
  const error = await page.evaluate((timeoutMs) => put('during', { timeoutMs }), SHORT_MS);
  assert.equal(error.is, true, JSON.stringify(error));
  assert.ok(['TIMEOUT', 'NO_QUORUM'].includes(error.code), JSON.stringify(error));
  assert.deepEqual([error.outcome, error.retryable], ['unknown', true]);
  const { needed, matching, silent } = error.quorum;
  assert.ok(matching.length < needed, JSON.stringify(error.quorum));
  assert.ok(silent.includes(2) && silent.includes(3), JSON.stringify(error.quorum));

  const waiting = page.evaluate(() => put('after', { timeoutMs: 30_000 }));
  resume();
  // What was called before may be executed too, before it or not at all.
  const { previous } = await waiting;
  assert.ok(['before', 'during'].includes(previous), previous);
  assert.deepEqual(await page.evaluate(() => get()), { value: { value: 'after' } });
  await page.evaluate(() => client.close());
  await page.close();
});

test('with f + 1 replicas gone connecting says which; it succeeds when they are back', async () => {
  const page = await open();
  await pause([1, 2, 3]);
  const error = await page.evaluate((timeoutMs) => start({ timeoutMs }), SHORT_MS);
  assert.equal(error.code, 'NO_QUORUM', JSON.stringify(error));
  for (const id of [1, 2, 3]) {
    assert.ok(error.message.includes(new URL(cluster.replicas[id].url).host), error.message);
  }
  resume();
  await page.evaluate(() => open({ timeoutMs: 30_000 }));
  await page.close();
});

test('a replica that is killed and starts again is connected to again, and no event is lost', async () => {
  const page = await open({ restart: true });
  await page.evaluate(() => open({}, 'all'));
  await page.evaluate(() => follow());
  const values = Array.from({ length: 10 }, (_, index) => `${index}`);
  for (const value of values.slice(0, 5)) await page.evaluate((value) => put(value), value);
  process.kill(cluster.replicas[2].pid, 'SIGKILL');
  await until('the page misses it', async () => (await status(page)).phase === 'degraded');
  for (const value of values.slice(5)) await page.evaluate((value) => put(value), value);
  await until('the page has it back', async () => (await status(page)).phase === 'ready', {
    limitMs: 30_000,
    otherwise: async () => JSON.stringify(await status(page)),
  });
  await until('all events are there', async () => (await page.evaluate(() => events.length)) >= 10);
  assert.deepEqual(
    await page.evaluate(() => events),
    values.map((value) => [value, false]),
  );
  await page.evaluate(() => client.close());
  await page.close();
});

test('Wasm that cannot be had gives the right code', async () => {
  const page = await open();
  const html = await page.evaluate(() => start({ wasm: '/page.html' }));
  assert.equal(html.code, 'WASM_LOAD');
  assert.match(html.message, /page\.html is a page of HTML, not Wasm/);
  const missing = await page.evaluate(() => start({ wasm: '/wasm/none.wasm' }));
  assert.equal(missing.code, 'WASM_LOAD');
  assert.match(missing.message, /none\.wasm (answers 404|is a page of HTML)/);
  const broken = await page.evaluate(() => start({ wasm: new Uint8Array([0, 1, 2, 3]) }));
  assert.equal(broken.code, 'WASM_LOAD');
  const wrongView = await page.evaluate(() => start({ view: { number: 1 } }));
  assert.ok(['VIEW', 'INPUT'].includes(wrongView.code), JSON.stringify(wrongView));
  await page.goto(`${cluster.replicas[1].url}/page.html`);
  await page.waitForFunction(() => globalThis.loaded);
  const disabled = await page.evaluate(() => {
    delete globalThis.WebAssembly;
    return start({});
  });
  assert.equal(disabled.code, 'WASM_UNAVAILABLE');
  // After all that, a client with the right Wasm works.
  await page.goto(cluster.replicas[1].url);
  await page.waitForFunction(() => globalThis.loaded);
  await page.evaluate(() => start({ wasm: '/page.html' }));
  await page.evaluate(
    async (bytes) => {
      await open({ wasm: Uint8Array.from(bytes) });
      await client.close();
    },
    [...(await readFile(join(folder, 'wasm/webbft_client_wasm_bg.wasm')))],
  );
  await page.close();
});
