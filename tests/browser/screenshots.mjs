// Takes pictures of the running page: node screenshots.mjs --cluster CLUSTER.json --out FOLDER

import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { launchBrowser } from './lib/browser.mjs';
import { Editor, untilAllHold, untilCaught } from './lib/editor.mjs';

const { values } = parseArgs({
  options: { cluster: { type: 'string' }, out: { type: 'string' } },
});
const { replicas } = JSON.parse(await readFile(values.cluster, 'utf8'));
await mkdir(values.out, { recursive: true });

const SHAPES = {
  desktop: { viewport: { width: 1280, height: 800 }, deviceScaleFactor: 1 },
  phone: {
    viewport: { width: 390, height: 844 },
    deviceScaleFactor: 2,
    hasTouch: true,
    isMobile: true,
  },
};
const DOC = 'minutes';
const TEXT = [
  'Minutes of the allotment society',
  '',
  'The gate is locked at dusk from the first of October.',
  'Water: the east tap is repaired, the west tap waits for a part.',
  'Seeds are ordered together; lists to Ines by the end of the month.',
].join('\n');
const REMARK = '\n\nI can fetch the part on Thursday.';

const browser = await launchBrowser();
try {
  const writer = await Editor.open(browser, 'the writer', replicas[0], DOC);
  await writer.press('Control+End');
  await writer.type(TEXT);
  await untilAllHold([writer], TEXT);
  let text = TEXT;
  for (const [shape, device] of Object.entries(SHAPES)) {
    for (const colorScheme of ['light', 'dark']) {
      const reader = await Editor.open(browser, 'the reader', replicas[1], DOC, {
        ...device,
        colorScheme,
        reducedMotion: 'reduce',
      });
      // A vote of the reader's own and one edit of somebody else, so that the panel has a history.
      await reader.press('Control+End');
      const addition = text === TEXT ? REMARK : '';
      await reader.type(addition || '.');
      text += addition || '.';
      await untilAllHold([reader, writer], text);
      if (!addition) {
        await reader.press('Backspace');
        text = text.slice(0, -1);
        await untilAllHold([reader, writer], text);
      }
      await untilCaught([reader], [3]);
      const path = join(values.out, `editor-${shape}-${colorScheme}.png`);
      await reader.page.screenshot({ path, animations: 'disabled', caret: 'hide' });
      console.log(`  wrote ${path}`);
      await reader.page.context().close();
    }
  }
} finally {
  await browser.close();
}
