// Takes pictures of the page's main states in a running demo: node screenshots.mjs --out FOLDER

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createClient } from '../../js/webbft/dist/index.js';
import { launchBrowser } from './lib/browser.mjs';
import { runningDemo } from './lib/demo.mjs';
import { Editor, untilAllHold, untilCaught } from './lib/editor.mjs';
import { until } from './lib/wait.mjs';

const { values } = parseArgs({ options: { out: { type: 'string' } } });
await mkdir(values.out, { recursive: true });

const SHAPES = {
  desktop: { viewport: { width: 1280, height: 880 }, deviceScaleFactor: 1 },
  phone: {
    viewport: { width: 390, height: 844 },
    deviceScaleFactor: 1.5,
    hasTouch: true,
    isMobile: true,
  },
};
const LIMITS = { limitMs: 40_000 };
const DOC = 'minutes';
const TEXT = [
  'Minutes of the allotment society',
  '',
  'The gate is locked at dusk from the first of October.',
  'Water: the east tap is repaired, the west tap waits for a part.',
  'Seeds are ordered together; lists to Ines by the end of the month.',
].join('\n');
const REMARK = '\n\nI can fetch the part on Thursday.';
const LATER = ' And bring the long hose.';
const OTHERS = {
  'seed-order': 'Broad beans, 2 kg\nSugar peas, 1 kg\nCalendula, 12 packets',
  'summer-party': 'Tables from the school. Who asks the band?',
  'rules-of-the-society': 'No fires in August. Dogs on a lead. Compost is everybody’s.',
};

const demo = await runningDemo();
const browser = await launchBrowser();
const view = await (await fetch(`${demo.replicas[0].url}/view.json`)).json();
const client = createClient({ view, identity: 'ephemeral', transport: 'http' });

/** The pages of readers, by shape and colour scheme. */
const readers = new Map();

async function picture(state) {
  for (const [name, { page }] of readers) {
    const path = join(values.out, `editor-${state}-${name}.png`);
    await page.screenshot({ path, animations: 'disabled', caret: 'hide' });
    console.log(`  wrote ${path}`);
  }
}

/** Opens the panel where it is a bar at the bottom, and scrolls it to its beginning or end. */
async function showPanel(block) {
  for (const [name, { page }] of readers) {
    if (
      name.startsWith('phone') &&
      (await page.getAttribute('.bar', 'aria-expanded')) === 'false'
    ) {
      await page.click('.bar');
    }
    const edge = block === 'start' ? '.last' : '.card:last-child';
    await page.evaluate(
      ([edge, block]) => document.querySelector(`#panel ${edge}`).scrollIntoView({ block }),
      [edge, block],
    );
  }
}

async function everyReader(what, probe) {
  await until(
    what,
    async () => {
      for (const { page } of readers.values()) if (!(await probe(page))) return false;
      return true;
    },
    LIMITS,
  );
}

try {
  for (const [doc, insert] of Object.entries(OTHERS)) {
    const spans = [{ from: 0, to: 0, insert }];
    await client.invoke('edit', { doc, base: 0, tag: 'screenshots', spans });
  }
  const open = (name, replica, options) =>
    Editor.open(browser, name, demo.replicas[replica], DOC, { ...options, demo: demo.key });
  const writer = await open('the writer', 0);
  await writer.press('Control+End');
  await writer.type(TEXT);
  for (const [shape, device] of Object.entries(SHAPES)) {
    for (const colorScheme of ['light', 'dark']) {
      const name = `${shape}-${colorScheme}`;
      const options = { ...device, colorScheme, reducedMotion: 'reduce' };
      readers.set(name, await open(name, 1, options));
    }
  }
  const all = [writer, ...readers.values()];
  const first = readers.get('desktop-light');
  await first.press('Control+End');
  await first.type(REMARK);
  await untilAllHold(all, TEXT + REMARK);
  await everyReader('all agreed', async (page) =>
    /4\sof\s4/.test(await page.textContent('.agreed-what')),
  );
  await picture('agreed');

  await demo.act(3, 'lie');
  await everyReader('all are connected', (page) =>
    page.evaluate(() => window.__webbftEditor.status().phase === 'ready'),
  );
  await first.press('Control+End');
  await first.type(LATER);
  const text = TEXT + REMARK + LATER;
  await untilAllHold(all, text);
  await untilCaught([...readers.values()], [3]);
  await everyReader('every page shows what it tried to show', (page) =>
    page.evaluate(() => document.querySelector('.claim del') !== null),
  );
  await showPanel('end');
  await picture('liar');

  for (const { page } of readers.values()) await page.click('#history');
  await everyReader('the past is there', (page) => page.isVisible('.past-slider'));
  for (const [name, { page }] of readers) {
    if (name.startsWith('phone')) await page.click('.bar');
    const shown = await page.evaluate(() => window.__webbftEditor.past().version);
    await page.fill('.past-slider', String(Math.round(shown * 0.82)));
  }
  await picture('history');
  for (const { page } of readers.values()) await page.click('#history');

  for (const { page } of readers.values()) await page.click('#documents');
  await everyReader('the documents are there', (page) => page.isVisible('.documents-list a'));
  await picture('documents');
  for (const { page } of readers.values()) await page.keyboard.press('Escape');

  await demo.act(3, 'restart');
  await demo.act(2, 'kill');
  await demo.act(1, 'kill');
  await everyReader('there is no quorum', (page) => page.isVisible('#banner'));
  await first.press('Control+End');
  await first.type(' Agreed by nobody yet.');
  await showPanel('start');
  await picture('no-quorum');
} finally {
  await client.close();
  await browser.close();
}
