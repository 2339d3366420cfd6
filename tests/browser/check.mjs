// Drives a running demo for a few seconds and gives a verdict:
// node check.mjs --cluster CLUSTER.json [--liar ID]

import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { launchBrowser } from './lib/browser.mjs';
import { aLineEach, Editor, untilAllHold, untilCaught } from './lib/editor.mjs';

const { values } = parseArgs({
  options: { cluster: { type: 'string' }, liar: { type: 'string' } },
});
const { replicas } = JSON.parse(await readFile(values.cluster, 'utf8'));
const doc = `check-${Date.now()}`;
const ONE = 'what one page writes appears on the other';
const TWO = 'and what the other writes appears on the first';

const say = (text) => console.log(`  ${text}`);
const browser = await launchBrowser();
try {
  const one = await Editor.open(browser, 'page one', replicas[0], doc);
  const two = await Editor.open(browser, 'page two', replicas[1], doc);
  const { n, f, connected } = await one.status();
  say(
    `two pages opened; each is connected to ${connected} of ${n} replicas and tolerates ${f} liar`,
  );
  await aLineEach(one, two);
  const started = performance.now();
  await Promise.all([one.type(ONE), two.type(TWO)]);
  await untilAllHold([one, two], `first: ${ONE}\nsecond: ${TWO}`);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  say(`both typed at once; after ${seconds} s both hold the same, right text:`);
  for (const line of (await two.text()).split('\n')) say(`    ${line}`);
  const evidence = await one.lastEvidence();
  const { matching, differing, silent } = evidence;
  say(`the last vote: [${matching}] agreed, [${differing}] differed, [${silent}] did not answer`);
  await untilCaught([one, two], values.liar ? [Number(values.liar)] : []);
  say(
    values.liar
      ? `both pages show replica ${values.liar} as a suspect: ${await one.shownSuspicion(values.liar)}`
      : 'nobody was caught in a lie',
  );
  const errors = [...one.errors, ...two.errors];
  if (errors.length > 0) throw new Error(`errors in the page:\n${errors.join('\n')}`);
  console.log('The demo works.');
} catch (error) {
  console.error(`The demo does not work: ${error.message}`);
  process.exitCode = 1;
} finally {
  await browser.close();
}
