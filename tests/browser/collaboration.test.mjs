// The editor page in a running demo: several people at work, while replicas are killed, paused and
// corrupted by the demo's controls. One cluster for all tests; each leaves it whole.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { after, afterEach, before, test } from 'node:test';
import { createClient, WebBftError } from '../../js/webbft/dist/index.js';
import { launchBrowser } from './lib/browser.mjs';
import { runningDemo } from './lib/demo.mjs';
import { describeAll, Editor, untilAllHold, untilCaught } from './lib/editor.mjs';
import { recorded } from './lib/history.mjs';
import { until } from './lib/wait.mjs';

const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
/** Replicas that come back, a change of leader: on a busy machine that takes its time. */
const LONG_MS = 40_000;

let demo;
let browser;
/** A client that is no page: it votes too, on what the replicas have. */
let client;

before(async () => {
  demo = await runningDemo();
  browser = await launchBrowser();
  const view = await (await fetch(`${demo.replicas[0].url}/view.json`)).json();
  client = createClient({ view, identity: 'ephemeral', transport: 'http' });
  await client.connect();
});
after(async () => {
  await client?.close();
  await browser?.close();
});
afterEach(async () => {
  for (const context of browser.contexts()) await context.close();
  await demo.heal();
});

/** A document of this run: the demo may have served another one. */
const RUN = Date.now().toString(36);
const named = (doc) => `${doc}-${RUN}`;

/** Opens a page that the demo gave its controls to. */
async function open(name, replica, doc, options = {}) {
  return Editor.open(browser, name, demo.replicas[replica], named(doc), {
    ...options,
    demo: demo.key,
  });
}

const card = (id) => `#panel .card:nth-child(${id + 1})`;

/** Types at the end of the text, wherever the focus was. */
async function append(editor, text) {
  await editor.press('Control+End');
  await editor.type(text);
}

/** Presses a button of a replica, as a person does. */
async function press(editor, id, label) {
  await editor.page.click(`${card(id)} .controls button:text-is("${label}")`);
}

const cardText = (editor, id) => editor.page.textContent(card(id));

/** What a page says of the votes on the last edit. */
const confirmedBy = async (editor) =>
  (await editor.page.textContent('.agreed-what')).replaceAll('\u00a0', ' ');

async function untilConfirmedBy(editors, words) {
  await until(
    `every page says "${words}"`,
    async () => {
      for (const editor of editors) if ((await confirmedBy(editor)) !== words) return false;
      return true;
    },
    { limitMs: LONG_MS, otherwise: () => describeAll(editors) },
  );
}

async function untilCard(editor, id, pattern) {
  await until(
    `the card of replica ${id} matches ${pattern}`,
    async () => pattern.test(await cardText(editor, id)),
    { limitMs: LONG_MS, otherwise: () => cardText(editor, id) },
  );
}

/** Waits until replica `id` was started again as a liar and `pages` pages are connected to it. */
async function untilItLiesTo(pages, id) {
  await until(
    `replica ${id} lies to ${pages} pages`,
    async () => {
      const response = await fetch(`${demo.replicas[id].url}/status.json`).catch(() => null);
      const { byzantine, clientLinks } = response?.ok ? await response.json() : {};
      return byzantine === 'lie' && clientLinks.webSocket >= pages;
    },
    { limitMs: LONG_MS },
  );
}

/** The agreed text, read by a client of its own. */
const agreed = async (doc) => (await client.invokeUnordered('read', { doc: named(doc) })).text;

function noErrors(editors) {
  for (const editor of editors) assert.deepEqual(editor.errors, [], editor.name);
}

test('votes on others’ edits are counted to the last one', async () => {
  const one = await open('page one', 0, 'votes');
  const two = await open('page two', 1, 'votes');
  await append(one, 'counted');
  await untilAllHold([one, two], 'counted');
  // An event is shown on f + 1 votes; that all four agreed is known a moment later.
  await untilConfirmedBy([one, two], 'Confirmed by 4 of 4');
  await until('the panel names the leader', async () => {
    const words = await Promise.all([0, 1, 2, 3].map((id) => cardText(one, id)));
    return words.some((text) => /Says: view 0, leader \d, instance \d+/.test(text));
  });
  noErrors([one, two]);
});

/** The names on others' cursors, and the text before each cursor; all as of one moment. */
const cursors = (editor) =>
  editor.page.evaluate(() =>
    [...document.querySelectorAll('.cm-caret')].map((caret) => {
      const before = document.createRange();
      before.selectNodeContents(caret.closest('.cm-line'));
      before.setEndBefore(caret);
      return [caret.textContent, before.toString()];
    }),
  );

async function untilCursors(editor, expected) {
  await until(
    `${editor.name} shows the cursors ${JSON.stringify(expected)}`,
    async () => JSON.stringify(await cursors(editor)) === JSON.stringify(expected),
    { limitMs: LONG_MS, otherwise: async () => JSON.stringify(await cursors(editor)) },
  );
}

test('people see each other by name, where each is, and that one leaves', async () => {
  const ada = await open('Ada', 0, 'people');
  const ben = await open('Ben', 1, 'people');
  for (const editor of [ada, ben]) await editor.page.fill('#my-name', editor.name);
  await append(ada, 'one two');
  await untilAllHold([ada, ben], 'one two');
  await ben.press('Control+Home');
  await untilCursors(ben, [['Ada', 'one two']]);
  await untilCursors(ada, [['Ben', '']]);
  // What is written before a cursor moves it along; what is selected is shown as well.
  await ben.type('zero ');
  await untilCursors(ben, [['Ada', 'zero one two']]);
  await untilCursors(ada, [['Ben', 'zero ']]);
  await ada.press('Shift+Control+ArrowLeft');
  await untilCursors(ben, [['Ada', 'zero one ']]);
  assert.equal(await ben.page.textContent('.cm-others-selection'), 'two');
  assert.deepEqual(
    await ben.page.$$eval('.people li', (rows) => rows.map((row) => row.textContent)),
    ['Ada'],
  );
  await ada.page.close({ runBeforeUnload: false });
  await untilCursors(ben, []);
  noErrors([ben]);
});

test('a replica is killed and restarted by the buttons, and catches up', async () => {
  const one = await open('page one', 0, 'kill');
  await press(one, 2, 'Kill');
  await untilCard(one, 2, /killed/);
  await append(one, 'without it');
  await untilAllHold([one], 'without it');
  await untilConfirmedBy([one], 'Confirmed by 3 of 4');
  await press(one, 2, 'Restart');
  await untilCard(one, 2, /connected/);
  await append(one, ', and with it');
  await untilAllHold([one], 'without it, and with it');
  await untilConfirmedBy([one], 'Confirmed by 4 of 4');
  await untilCard(
    one,
    2,
    /matched(?!.*(behind|Catches|Fetches)).*Says: view 0, leader \d, instance \d+/,
  );
  noErrors([one]);
});

test('with f + 1 replicas paused writes visibly stop, and go on when one is back', async () => {
  const one = await open('page one', 0, 'stop');
  const two = await open('page two', 1, 'stop');
  await append(one, 'before');
  await untilAllHold([one, two], 'before');
  await press(one, 2, 'Pause');
  await press(one, 3, 'Pause');
  await untilCard(two, 3, /paused/);
  await append(one, ' and during');
  await until('page one says that writes wait', async () =>
    /^No quorum.*writes wait/.test(await one.page.textContent('#banner')),
  );
  assert.equal(await one.text(), 'before and during');
  assert.equal(await one.pending(), true);
  assert.equal(await two.text(), 'before', 'what was not agreed on is shown to nobody else');
  await press(one, 2, 'Resume');
  await untilAllHold([one, two], 'before and during', LONG_MS);
  await until('page one takes the banner back', () => one.page.isHidden('#banner'));
  noErrors([one, two]);
});

test('what a liar tried to show stands beside what was voted', async () => {
  const one = await open('page one', 0, 'lie');
  await append(one, 'Nobody reads one book alone');
  await untilAllHold([one], 'Nobody reads one book alone');
  await press(one, 3, 'Lie');
  await untilItLiesTo(1, 3);
  await append(one, '.');
  await untilCaught([one], [3]);
  await untilCard(one, 3, /What it tried to show/);
  // The full stop may have been agreed on before or after the question.
  assert.match(
    await one.page.textContent(`${card(3)} .claim ins`),
    /^Nobody reads one book alone\.?$/,
  );
  assert.match(
    await one.page.textContent(`${card(3)} .claim del`),
    /^Opcpez sfbet pof cppl bmpof\.?$/,
  );
  // A second liar could outvote the truth where f + 1 votes are enough: the demo does not do that.
  await press(one, 2, 'Lie');
  await until('the page says why', async () =>
    /replica 3 lies already/.test(await one.page.textContent('#banner')),
  );
  assert.equal(await one.text(), 'Nobody reads one book alone.');
  noErrors([one]);
});

test('only the demo’s own pages have its controls', async () => {
  const stranger = await Editor.open(browser, 'a page without them', demo.replicas[0], 'guarded');
  assert.equal(await stranger.page.locator('.controls button:visible').count(), 0);
  // Another site's page, which has got hold of the token even.
  const status = await stranger.page.evaluate(
    async ([base, authorization]) => {
      const guessed = await fetch(`${base}/replicas`, { headers: { authorization: 'Bearer 0' } });
      const known = await fetch(`${base}/replicas`, { headers: { authorization } });
      return [guessed.status, known.status];
    },
    [demo.base, `Bearer ${demo.token}`],
  );
  assert.deepEqual(status, [401, 200]);
  for (const headers of [
    { authorization: `Bearer ${demo.token}`, origin: 'http://evil.example' },
    { origin: 'null' },
    {},
  ]) {
    const { status, headers: given } = await fetch(`${demo.base}/replicas`, { headers });
    assert.ok(status === 401 || status === 403, `${JSON.stringify(headers)}: ${status}`);
    assert.equal(given.get('access-control-allow-origin'), null);
  }
  const page = await open('a page of the demo', 0, 'guarded');
  await until(
    'the buttons are there',
    async () => (await page.page.locator('.controls button:visible').count()) === 16,
  );
  assert.ok(
    !page.page.url().includes(demo.token),
    'the address in the bar does not carry the token',
  );
  noErrors([stranger, page]);
});

test('undo takes back one’s own edits only, moved along with others’', async () => {
  const one = await open('page one', 0, 'undo');
  const two = await open('page two', 1, 'undo');
  await append(one, 'mine');
  await untilAllHold([one, two], 'mine');
  await two.press('Control+Home');
  await two.type('theirs ');
  await untilAllHold([one, two], 'theirs mine');
  await one.press('Control+z');
  await untilAllHold([one, two], 'theirs ');
  await one.press('Control+y');
  await untilAllHold([one, two], 'theirs mine');
  await two.press('Control+z');
  await untilAllHold([one, two], 'mine');
  noErrors([one, two]);
});

test('scripts of all kinds, line ends, and halves of characters', async () => {
  const one = await open('page one', 0, 'scripts');
  const two = await open('page two', 1, 'scripts');
  const lines = [
    'family: 👨‍👩‍👧‍👦 flag: 🇵🇹 skin: 👍🏽',
    'combining: e\u0301 n\u0303 a\u0323\u0302 Z͑ͫ̓ͪ̂',
    'right to left: שלום עולם, مرحبا بالعالم and back',
    'carriage\rreturn',
    '漢字かな한글',
  ];
  const text = lines.join('\n');
  await one.page.evaluate((text) => window.__webbftEditor.replace(0, 0, text), text);
  await untilAllHold([one, two], text);
  // A browser reports 👍 → 👎 as a new second half.
  const at = text.indexOf('👍');
  const swapped = text.replace('👍', '👎');
  await two.page.evaluate((at) => window.__webbftEditor.replace(at + 1, at + 2, '\udc4e'), at);
  await untilAllHold([one, two], swapped);
  // Half a character that stays alone cannot be sent, and becomes the replacement character.
  await one.page.evaluate(() => window.__webbftEditor.replace(0, 0, '\ud83d'));
  await untilAllHold([one, two], `\ufffd${swapped}`);
  assert.equal(await agreed('scripts'), `\ufffd${swapped}`);
  // What a program sends that does not take this care is refused, and says why.
  const split = [{ from: at + 2, to: at + 2, insert: 'x' }];
  const { version } = await client.invokeUnordered('read', { doc: named('scripts') });
  await assert.rejects(
    client.invoke('edit', { doc: named('scripts'), base: version, tag: 'raw', spans: split }),
    (error) => {
      assert.ok(WebBftError.is(error, 'SERVICE'));
      assert.equal(error.detail.code, 'splitsSurrogate');
      assert.match(error.detail.message, /surrogate|character/);
      return true;
    },
  );
  // Pasted line ends become those that typing makes.
  await one.press('Control+End');
  await one.page.evaluate(() => {
    const clipboardData = new DataTransfer();
    clipboardData.setData('text/plain', '\r\none\r\ntwo');
    const paste = new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true });
    document.querySelector('.cm-content').dispatchEvent(paste);
  });
  await untilAllHold([one, two], `\ufffd${swapped}\none\ntwo`);
  noErrors([one, two]);
});

/** Replays `edits` into the page's own section, one after the other, as fast as they are taken. */
function replay(editor, marker, edits) {
  return editor.page.evaluate(
    async ([marker, edits]) => {
      const hook = window.__webbftEditor;
      const turn = new MessageChannel();
      for (const [at, deleted, inserted] of edits) {
        const start = hook.text().indexOf(marker) + marker.length;
        hook.replace(start + at, start + at + deleted, inserted);
        await new Promise((resolve) => {
          turn.port1.onmessage = resolve;
          turn.port2.postMessage(null);
        });
        // A person's pace, or the whole history would be one batch.
        await new Promise((resolve) => requestAnimationFrame(resolve));
      }
    },
    [marker, edits],
  );
}

test('five pages replay a real history while a replica lies, the leader dies and a page is offline', async () => {
  const doc = 'histories';
  const pages = await Promise.all(
    [0, 1, 2, 3, 1].map((replica, index) => open(`page ${index}`, replica, doc)),
  );
  const markers = pages.map((_, index) => `\u2014${index}\u2014\n`);
  const histories = await Promise.all(pages.map((_, index) => recorded(240 + 30 * index)));
  const skeleton = markers.join('\n');
  await pages[0].page.evaluate((text) => window.__webbftEditor.replace(0, 0, text), skeleton);
  await untilAllHold(pages, skeleton);

  /** Each page goes through its history in three parts; between them the replicas change. */
  const part = (which) =>
    Promise.all(
      pages.map((page, index) => {
        const { edits } = histories[index];
        const third = Math.ceil(edits.length / 3);
        return replay(page, markers[index], edits.slice(which * third, (which + 1) * third));
      }),
    );
  await demo.act(3, 'lie');
  await part(0);
  await untilCaught(pages, [3], LONG_MS);
  await demo.act(3, 'restart');
  await until(
    'every page has all replicas',
    async () => {
      const states = await Promise.all(pages.map((page) => page.status()));
      return states.every(({ phase }) => phase === 'ready');
    },
    { limitMs: LONG_MS, otherwise: () => describeAll(pages) },
  );

  const { leader } = await (await fetch(`${demo.replicas[1].url}/status.json`)).json();
  await pages[4].page.context().setOffline(true);
  await Promise.all([part(1), demo.act(leader, 'kill')]);
  await until('the page that is offline has changes that wait', () => pages[4].pending());
  await demo.act(leader, 'restart');
  await pages[4].page.context().setOffline(false);
  await part(2);

  const expected = markers.map((marker, index) => marker + histories[index].text).join('\n');
  await untilAllHold(pages, expected, LONG_MS);
  assert.equal(await agreed(doc), expected);
  await until(
    'the plot of a page that was there shows the change of leader',
    async () => /leader \d/.test(await pages[0].page.textContent('.plot-changes')),
    { limitMs: LONG_MS },
  );
  noErrors(pages);
});

test('documents are listed and made, and the past can be looked at', async () => {
  const one = await open('page one', 0, 'past');
  await append(one, 'one');
  await untilAllHold([one], 'one');
  await one.press('Backspace');
  await untilAllHold([one], 'on');
  await one.page.click('#history');
  const past = () => one.page.evaluate(() => window.__webbftEditor.past());
  await until('the history is there', past);
  assert.equal((await past()).text.replace('one', 'on'), 'on');
  await one.page.keyboard.press('ArrowLeft');
  await until('the version before is shown', async () => (await past()).text === 'one');
  assert.match(await one.page.textContent('.past-who'), /^by you, .*\d/);
  await one.page.keyboard.press('Home');
  assert.deepEqual(await past(), { version: 0, text: '' });
  // What is written meanwhile is added at the end.
  const { version } = await client.invokeUnordered('read', { doc: named('past') });
  const spans = [{ from: 2, to: 2, insert: 'ward' }];
  await client.invoke('edit', { doc: named('past'), base: version, tag: 'meanwhile', spans });
  await until('the slider reaches it', async () =>
    (await one.page.textContent('.past-version')).endsWith(`of ${version + 1}`),
  );
  assert.equal((await past()).version, 0);
  await one.page.keyboard.press('End');
  assert.deepEqual(await past(), { version: version + 1, text: 'onward' });
  assert.match(await one.page.textContent('.past-who'), /^by writer [0-9a-f]{4}, /);
  await one.page.keyboard.press('Escape');
  assert.equal(await past(), null);
  assert.equal(await one.text(), 'onward');

  await one.page.click('#documents');
  await until('the document is listed', async () =>
    /past/.test(await one.page.textContent('.documents-list')),
  );
  // Made by somebody else while the list is open.
  await client.invoke('create', { doc: named('made-elsewhere') });
  await until('the new document appears', async () =>
    /made-elsewhere/.test(await one.page.textContent('.documents-list')),
  );
  await one.page.fill('#new-document', named('made-elsewhere'));
  await one.page.keyboard.press('Enter');
  await until('the page says that there is one', async () =>
    /there is a document/.test((await one.page.textContent('.documents-problem')).toLowerCase()),
  );
  await one.page.fill('#new-document', named('made here'));
  await one.page.keyboard.press('Enter');
  await until('the new document is open', async () => {
    const title = await one.page.title().catch(() => '');
    return title.startsWith(named('made-here'));
  });
  noErrors([one]);
});

test('a document of a megabyte can be edited', async () => {
  const doc = 'large';
  const { text } = await recorded(6_000);
  const large = text.repeat(Math.ceil(1_000_000 / text.length));
  // One request may have a megabyte of JSON, escapes included.
  for (const [base, insert] of [large.slice(0, 5e5), large.slice(5e5)].entries()) {
    const at = base * 5e5;
    const spans = [{ from: at, to: at, insert }];
    await client.invoke('edit', { doc: named(doc), base, tag: `part ${base}`, spans });
  }
  const one = await open('page one', 0, doc);
  const two = await open('page two', 1, doc);
  await one.press('Control+End');
  const began = performance.now();
  await one.type('the end');
  const expected = `${large}the end`;
  await until('both hold it', async () => {
    const lengths = await Promise.all([one, two].map((page) => page.text().then((t) => t.length)));
    return lengths.every((length) => length === expected.length) && !(await one.pending());
  });
  const took = performance.now() - began;
  assert.ok(took < 10_000, `seven letters took ${Math.round(took)} ms`);
  assert.ok((await two.text()) === expected);
  noErrors([one, two]);
});

/** What axe finds wrong with the page as it is now; `options` are axe's. */
async function defects({ page }, options = {}) {
  const { violations } = await page.evaluate(
    (options) => window.axe.run(document, options),
    options,
  );
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html)}`);
}

test('the page has no accessibility defects that axe finds, and works by keyboard', async () => {
  const one = await open('a wide, light page', 0, 'accessible');
  const two = await open('a narrow, dark page', 1, 'accessible', {
    viewport: { width: 390, height: 844 },
    colorScheme: 'dark',
  });
  await demo.act(3, 'lie');
  await untilItLiesTo(2, 3);
  await append(one, 'For everybody');
  await untilAllHold([one, two], 'For everybody');
  await untilCaught([one, two], [3]);
  await two.page.focus('.bar');
  await two.page.keyboard.press('Enter');
  for (const editor of [one, two]) {
    await untilCard(editor, 3, /What it tried to show/);
    await editor.page.evaluate(await readFile(AXE, 'utf8'));
    assert.deepEqual(await defects(editor), [], editor.name);
    await editor.page.focus('#history');
    await editor.page.keyboard.press('Enter');
    await until('the slider has the focus', () =>
      editor.page.evaluate(() => document.activeElement?.className === 'past-slider'),
    );
    assert.deepEqual(await defects(editor), [], `the history of ${editor.name}`);
    await editor.page.keyboard.press('Escape');
    await editor.page.focus('#documents');
    await editor.page.keyboard.press('Enter');
    await until('the list is there', () => editor.page.isVisible('.documents-list a'));
    // It takes the address of a document, which is in the fragment, for a place on this page.
    const rules = { 'skip-link': { enabled: false } };
    assert.deepEqual(await defects(editor, { rules }), [], `the documents of ${editor.name}`);
    await editor.page.keyboard.press('Escape');
    assert.equal(await editor.page.isVisible('.documents'), false);
  }
  await until('the live region told the votes', async () =>
    /Your edit, version \d+, confirmed by 3 of 4 replicas|Replica 3 is a suspect/.test(
      await one.page.textContent('#announcer'),
    ),
  );
});
