// A recorded history of a real writer, cut into parts that start from nothing.

import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';

const DATA = fileURLToPath(new URL('../../../examples/tests/data/', import.meta.url));

/**
 * The first `count` edits of one writer: `[position, deleted, inserted]`, in UTF-16 code units, and
 * the text that they make of an empty one.
 */
export async function recorded(count) {
  const file = await readFile(`${DATA}sveltecomponent.json.gz`);
  const { startContent, txns } = JSON.parse(gunzipSync(file).toString());
  if (startContent !== '') throw new Error('the history does not start from nothing');
  const edits = txns.flatMap(({ patches }) => patches).slice(0, count);
  let text = '';
  for (const [at, deleted, inserted] of edits) {
    // Positions count code points; the test's share of the history has none beyond the BMP.
    text = text.slice(0, at) + inserted + text.slice(at + deleted);
  }
  if (/[\ud800-\udfff]/.test(text)) throw new Error('choose fewer edits: positions would differ');
  return { edits, text };
}
