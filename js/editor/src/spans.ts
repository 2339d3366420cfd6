/** Between the wire's spans and CodeMirror's change sets, both in UTF-16 code units. */

import { ChangeSet, type Text } from '@codemirror/state';
import type { Span } from './service.ts';

/**
 * The one line separator that keeps CodeMirror's positions equal to those of the service: a `\r`
 * stays an ordinary character instead of becoming part of a line break of length one.
 */
export const LINE_SEPARATOR = '\n';

/** The change that `spans` make to a text of `length` code units; throws a RangeError if none. */
export function toChanges(spans: readonly Span[], length: number): ChangeSet {
  let end = 0;
  for (const span of spans) {
    if (!(Number.isSafeInteger(span.from) && Number.isSafeInteger(span.to))) {
      throw new RangeError(`span ${span.from}..${span.to}: positions must be integers`);
    }
    if (span.from < end || span.to < span.from) {
      throw new RangeError(`span ${span.from}..${span.to}: not ascending after ${end}`);
    }
    end = span.to;
  }
  return ChangeSet.of([...spans], length, LINE_SEPARATOR);
}

/** The spans of `changes`: ascending, disjoint, and not touching one another. */
export function toSpans(changes: ChangeSet): Span[] {
  const spans: Span[] = [];
  changes.iterChanges((from, to, _fromB, _toB, inserted) => {
    spans.push({ from, to, insert: inserted.sliceString(0, inserted.length, LINE_SEPARATOR) });
  });
  return spans;
}

const isHigh = (unit: number): boolean => unit >= 0xd800 && unit < 0xdc00;
const isLow = (unit: number): boolean => unit >= 0xdc00 && unit < 0xe000;

/** Whether position `at` of `doc` lies between the two halves of a surrogate pair. */
function splitsPair(doc: Text, at: number): boolean {
  if (at <= 0 || at >= doc.length) return false;
  const units = doc.sliceString(at - 1, at + 1, LINE_SEPARATOR);
  return isHigh(units.charCodeAt(0)) && isLow(units.charCodeAt(1));
}

/**
 * The same change of `doc`, with each span widened to whole characters. A browser reports 😀 → 😁
 * as a replaced low surrogate, which the service rightly refuses (`splitsSurrogate`).
 */
export function wholeCharacters(changes: ChangeSet, doc: Text): ChangeSet {
  const spans = toSpans(changes);
  if (!spans.some((span) => splitsPair(doc, span.from) || splitsPair(doc, span.to))) {
    return changes;
  }
  const widened: Span[] = [];
  // Spans do not touch, so widening by one unit on either side never makes two of them overlap.
  for (const span of spans) {
    let { from, to, insert } = span;
    if (splitsPair(doc, to)) {
      insert += doc.sliceString(to, to + 1);
      to += 1;
    }
    if (splitsPair(doc, from)) {
      from -= 1;
      insert = doc.sliceString(from, from + 1) + insert;
    }
    widened.push({ from, to, insert });
  }
  return ChangeSet.of(widened, doc.length, LINE_SEPARATOR);
}

/** Surrogates without their other half. */
const LONE_SURROGATE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/**
 * Repairs what `changes` insert and cannot be sent: half a surrogate pair, which no UTF-8 can
 * carry, becomes U+FFFD. Null if there is nothing to repair.
 */
export function repairInserted(changes: ChangeSet): ChangeSet | null {
  const repairs: Span[] = [];
  changes.iterChanges((_fromA, _toA, fromB, _toB, inserted) => {
    const text = inserted.sliceString(0, inserted.length, LINE_SEPARATOR);
    for (const { index } of text.matchAll(LONE_SURROGATE)) {
      repairs.push({ from: fromB + index, to: fromB + index + 1, insert: '\ufffd' });
    }
  });
  if (repairs.length === 0) return null;
  return ChangeSet.of(repairs, changes.newLength, LINE_SEPARATOR);
}

/** One span that turns `before` into `after`: what lies between their common ends. */
export function difference(before: Text, after: Text): ChangeSet {
  const a = before.sliceString(0, before.length, LINE_SEPARATOR);
  const b = after.sliceString(0, after.length, LINE_SEPARATOR);
  const shorter = Math.min(a.length, b.length);
  let from = 0;
  while (from < shorter && a.charCodeAt(from) === b.charCodeAt(from)) from += 1;
  let tail = 0;
  while (
    tail < shorter - from &&
    a.charCodeAt(a.length - 1 - tail) === b.charCodeAt(b.length - 1 - tail)
  ) {
    tail += 1;
  }
  if (from === a.length && from === b.length) return ChangeSet.empty(a.length);
  const span = { from, to: a.length - tail, insert: b.slice(from, b.length - tail) };
  return wholeCharacters(ChangeSet.of(span, a.length, LINE_SEPARATOR), before);
}
