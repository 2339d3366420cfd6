// The editor page against real replicas: two people type at once while one replica lies, and
// while one dies.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { launchBrowser } from './lib/browser.mjs';
import { startCluster } from './lib/cluster.mjs';
import { aLineEach, Editor, untilAllHold, untilCaught } from './lib/editor.mjs';
import { until } from './lib/wait.mjs';

const ONE = 'the quick brown fox jumps over the lazy dog, and a little later back over it again';
const TWO = 'pack my box with five dozen liquor jugs; what the box is for nobody has ever said';

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

test('two pages type at once while replica 3 lies in every reply and event', async () => {
  cluster = await startCluster({ byzantine: '3=lie' });
  const [r0, r1, r2] = cluster.replicas;
  const one = await Editor.open(browser, 'page one', r0, 'lie');
  const two = await Editor.open(browser, 'page two', r1, 'lie');

  await aLineEach(one, two);
  await Promise.all([one.type(ONE), two.type(TWO)]);
  const expected = `first: ${ONE}\nsecond: ${TWO}`;
  await untilAllHold([one, two], expected);

  await untilCaught([one, two], [3]);
  for (const editor of [one, two]) {
    const { matching } = await editor.lastEvidence();
    assert.ok(!matching.includes(3), `${editor.name}: the liar is never among those who agree`);
    assert.ok(matching.length >= 2, `${editor.name}: f+1 replicas agreed, got ${matching}`);
  }

  // Someone who comes later reads the same text from the replicas.
  const late = await Editor.open(browser, 'a late page', r2, 'lie');
  await untilAllHold([one, two, late], expected);
  for (const editor of [one, two, late]) assert.deepEqual(editor.errors, [], editor.name);
});

test('two pages type at the same place; each keeps its own order', async () => {
  cluster = await startCluster({ byzantine: '3=lie' });
  const one = await Editor.open(browser, 'page one', cluster.replicas[0], 'same-place');
  const two = await Editor.open(browser, 'page two', cluster.replicas[2], 'same-place');

  await one.press('Control+Home');
  await two.press('Control+Home');
  const lower = 'abcdefghijklmnopqrstuvwxyz'.repeat(2);
  const upper = lower.toUpperCase();
  await Promise.all([one.type(lower), two.type(upper)]);
  const text = await until('both pages hold the same, all confirmed', async () => {
    const text = await one.text();
    const complete = text.length === lower.length + upper.length;
    return complete && (await one.holds(text)) && (await two.holds(text)) && text;
  });
  assert.equal(text.replace(/[A-Z]/g, ''), lower);
  assert.equal(text.replace(/[a-z]/g, ''), upper);
});

test('a replica that is not the leader is killed in the middle of the typing', async () => {
  cluster = await startCluster();
  const [r0, r1, victim] = cluster.replicas;
  const one = await Editor.open(browser, 'page one', r0, 'kill');
  const two = await Editor.open(browser, 'page two', r1, 'kill');

  await aLineEach(one, two);
  let typing = true;
  const typed = Promise.all([one.type(ONE), two.type(TWO)]).finally(() => {
    typing = false;
  });
  // Each page has a part of what the other types, and both still type.
  await until('each page shows a quarter of what the other types', async () => {
    const [left, right] = await Promise.all([one.text(), two.text()]);
    return (
      left.includes(TWO.slice(0, TWO.length / 4)) && right.includes(ONE.slice(0, ONE.length / 4))
    );
  });
  assert.ok(typing, 'the typing was over before the replica could be killed');
  process.kill(victim.pid, 'SIGKILL');
  const before = await two.version();
  await typed;

  await untilAllHold([one, two], `first: ${ONE}\nsecond: ${TWO}`);
  assert.ok((await two.version()) > before, 'edits were agreed on after the replica had died');
  for (const editor of [one, two]) {
    assert.deepEqual(await editor.liars(), [], `${editor.name}: nobody lied`);
    assert.deepEqual(editor.errors, [], editor.name);
  }
});
