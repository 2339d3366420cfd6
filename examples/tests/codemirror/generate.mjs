// Writes ../vectors/codemirror-map.jsonl: random edits and what CodeMirror's ChangeSet.map makes
// of them, for ../codemirror.rs to compare the replicas' rebase rule with.
//
//   node generate.mjs           writes the file
//   node generate.mjs --check   fails where the file differs from what it would write
//
// Each line is [length, incoming, accepted, before, mapped]: both edits apply to a text of
// `length` UTF-16 code units; `before` is 1 where the incoming insertion comes first at the same
// place; an edit is a list of [from, to, insert].

import { readFileSync, writeFileSync } from "node:fs";
import { ChangeSet } from "@codemirror/state";

const CASES = 5000;
const SEED = 20181;
const FILE = new URL("../vectors/codemirror-map.jsonl", import.meta.url);

const INSERTS = ["", "", "", "a", "b", "cd", "\n", "é", "😀", "x😀y", "\r\n"];

// Named, because by default CodeMirror takes "\r\n" for one line break of one code unit.
const LINE_SEPARATOR = "\n";

/** A generator of numbers from a seed (xorshift32): `draw(n)` is below n. */
function generator(seed) {
  let state = seed;
  return (n) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % n;
  };
}

/** An edit of at most four spans, many of which touch or start at the same place. */
function randomEdit(draw, length) {
  const spans = [];
  let from = 0;
  for (let count = draw(5); count > 0; count--) {
    from += draw(3) === 0 ? 0 : draw(Math.min(4, length - from + 1));
    const to = from + (draw(3) === 0 ? 0 : draw(Math.min(5, length - from + 1)));
    spans.push({ from, to, insert: INSERTS[draw(INSERTS.length)] });
    from = to;
  }
  return ChangeSet.of(spans, length, LINE_SEPARATOR);
}

function spansOf(changes) {
  const spans = [];
  const each = (from, to, _fromAfter, _toAfter, insert) =>
    spans.push([from, to, insert.toString()]);
  changes.iterChanges(each, true);
  return spans;
}

function generate() {
  const draw = generator(SEED);
  const lines = [];
  while (lines.length < CASES) {
    const base = draw(12);
    // Every second incoming edit has been rebased before, as edits of an old version are.
    const earlier = draw(2) === 0 ? ChangeSet.empty(base) : randomEdit(draw, base);
    const incoming = randomEdit(draw, base).map(earlier);
    const accepted = randomEdit(draw, earlier.newLength);
    const before = draw(2);
    const mapped = incoming.map(accepted, before === 1);
    const line = [incoming.length, spansOf(incoming), spansOf(accepted), before, spansOf(mapped)];
    lines.push(JSON.stringify(line));
  }
  return `${lines.join("\n")}\n`;
}

const generated = generate();
if (process.argv.includes("--check")) {
  if (readFileSync(FILE, "utf8") !== generated) {
    console.error("codemirror-map.jsonl differs from what CodeMirror gives: run generate.mjs");
    process.exit(1);
  }
  console.log(`codemirror-map.jsonl: ${CASES} cases, as CodeMirror gives them`);
} else {
  writeFileSync(FILE, generated);
}
