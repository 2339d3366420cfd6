// The npm package as it is built, without a bundler: in a page and in a module worker.

import assert from 'node:assert/strict';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launchBrowser } from './lib/browser.mjs';
import { startCluster } from './lib/cluster.mjs';

const PACKAGE = fileURLToPath(new URL('../../js/webbft', import.meta.url));

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

let browser;
let cluster;
let folder;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'webbft-package-'));
  for (const part of ['dist', 'wasm']) {
    await cp(join(PACKAGE, part), join(folder, part), { recursive: true });
  }
  await writeFile(join(folder, 'use.js'), USE);
  await writeFile(join(folder, 'worker.js'), WORKER);
  await writeFile(join(folder, 'index.html'), '<!doctype html><title>package</title>');
  cluster = await startCluster({ service: 'kv', page: folder });
  browser = await launchBrowser();
});
after(async () => {
  await browser?.close();
  await cluster?.stop();
  if (folder) await rm(folder, { recursive: true, force: true });
});

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
