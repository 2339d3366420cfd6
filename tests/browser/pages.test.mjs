// The small pages of examples/pages, served by the replicas as they are, while one replica lies.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launchBrowser } from './lib/browser.mjs';
import { startCluster } from './lib/cluster.mjs';
import { until } from './lib/wait.mjs';

const PAGES = fileURLToPath(new URL('../../examples/pages', import.meta.url));

let browser;
let cluster;

before(async () => {
  browser = await launchBrowser();
});
after(() => browser?.close());
afterEach(async () => {
  for (const context of browser.contexts()) await context.close();
  const stopping = cluster;
  cluster = undefined;
  await stopping?.stop();
});

/** Two readers of the same page, from two replicas, and what went wrong in them. */
async function openTwo(path) {
  const errors = [];
  const pages = [];
  for (const replica of cluster.replicas.slice(0, 2)) {
    const page = await (await browser.newContext()).newPage();
    page.on('pageerror', (error) => errors.push(String(error)));
    await page.goto(new URL(path, replica.url).href);
    pages.push(page);
  }
  return { pages, errors };
}

/** Waits until an element of the page has this text. */
function shows(page, selector, expected) {
  const text = () => page.$eval(selector, (element) => element.textContent.trim());
  return until(`${selector} shows ${expected}`, async () => (await text()) === expected, {
    otherwise: text,
  });
}

test('the counter counts the same in both pages', async () => {
  cluster = await startCluster({ service: 'counter', byzantine: '3=lie', page: PAGES });
  const { pages, errors } = await openTwo('/counter/');
  const [one, two] = pages;
  for (const page of pages) await shows(page, '#value', '0');
  await one.click('button[data-by="1"]');
  for (const page of pages) await shows(page, '#value', '1');
  await two.click('button[data-by="1"]');
  await two.click('button[data-by="1"]');
  await one.click('button[data-by="-1"]');
  for (const page of pages) await shows(page, '#value', '2');
  const said = await two.$eval('#said', (element) => element.textContent);
  assert.match(said, /^Replicas [012], [012](, [012])? of 4 say so$/);
  assert.deepEqual(errors, []);
});

test('the store shows what the other page puts and deletes', async () => {
  cluster = await startCluster({ service: 'kv', byzantine: '3=lie', page: PAGES });
  const { pages, errors } = await openTwo('/kv/');
  const [one, two] = pages;
  const put = async (page, key, value) => {
    await page.fill('[name=key]', key);
    await page.fill('[name=value]', value);
    await page.click('form button:enabled');
  };
  await put(one, 'b', '<b>2</b>');
  await shows(two, 'tbody', 'b<b>2</b>Delete');
  await put(two, 'a', '1');
  for (const page of pages) await shows(page, 'tbody', 'a1Deleteb<b>2</b>Delete');
  await one.click('button[aria-label="Delete b"]');
  for (const page of pages) await shows(page, 'tbody', 'a1Delete');
  // What the replicas refuse is said, and changes nothing.
  await put(one, 'x'.repeat(2000), '');
  await until('the refusal is said', async () =>
    (await one.$eval('#said', (element) => element.textContent)).includes('key'),
  );
  await shows(two, 'tbody', 'a1Delete');
  // A page that comes later reads it all.
  await two.reload();
  await shows(two, 'tbody', 'a1Delete');
  assert.deepEqual(errors, []);
});
