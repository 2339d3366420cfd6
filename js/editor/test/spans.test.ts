import { ChangeSet, Text } from '@codemirror/state';
import { describe, expect, test } from 'vitest';
import { difference, repairInserted, toChanges, toSpans, wholeCharacters } from '../src/spans.ts';
import { textOf } from '../src/sync.ts';

describe('toChanges', () => {
  test('keeps a carriage return as a character of its own', () => {
    const changes = toChanges([{ from: 1, to: 1, insert: 'x\r\ny' }], 2);
    const after = changes.apply(textOf('ab'));
    expect(after.sliceString(0, after.length, '\n')).toBe('ax\r\nyb');
    expect(after.lines).toBe(2);
    expect(toSpans(changes)).toEqual([{ from: 1, to: 1, insert: 'x\r\ny' }]);
  });

  test.each([
    [[{ from: 0, to: 3, insert: '' }], 2],
    [[{ from: -1, to: 0, insert: '' }], 2],
    [[{ from: 2, to: 1, insert: '' }], 2],
    [[{ from: 0.5, to: 1, insert: '' }], 2],
    [
      [
        { from: 1, to: 2, insert: '' },
        { from: 0, to: 1, insert: '' },
      ],
      2,
    ],
  ])('refuses %j of a text of %i units', (spans, length) => {
    expect(() => toChanges(spans, length)).toThrow(RangeError);
  });
});

describe('wholeCharacters', () => {
  const widened = (doc: string, from: number, to: number, insert: string) =>
    toSpans(wholeCharacters(ChangeSet.of({ from, to, insert }, doc.length), textOf(doc)));

  test('widens a replaced low surrogate', () => {
    expect(widened('a😀b', 2, 3, '\ude01')).toEqual([{ from: 1, to: 3, insert: '😁' }]);
  });

  test('widens a replaced high surrogate', () => {
    expect(widened('a😀b', 1, 2, '\ud83c')).toEqual([{ from: 1, to: 3, insert: '\ud83c\ude00' }]);
  });

  test('widens an insertion between the halves', () => {
    expect(widened('😀', 1, 1, 'x')).toEqual([{ from: 0, to: 2, insert: '\ud83dx\ude00' }]);
  });

  test('leaves whole characters alone', () => {
    expect(widened('a😀b', 1, 3, '😁')).toEqual([{ from: 1, to: 3, insert: '😁' }]);
  });
});

test.each([
  ['x\ud83d😀\ude00', 'x\ufffd😀\ufffd'],
  ['\ude00\r\n\ud83d', '\ufffd\r\n\ufffd'],
])('repairInserted turns %j into %j', (inserted, repaired) => {
  const changes = ChangeSet.of({ from: 1, to: 1, insert: inserted }, 2, '\n');
  const repair = repairInserted(changes);
  expect(toSpans(changes.compose(repair ?? ChangeSet.empty(0)))).toEqual([
    { from: 1, to: 1, insert: repaired },
  ]);
});

test('repairInserted leaves good text alone', () => {
  expect(repairInserted(ChangeSet.of({ from: 0, insert: '😀\r\n' }, 2, '\n'))).toBeNull();
});

test.each([
  ['', ''],
  ['abc', 'abc'],
  ['abc', 'aXc'],
  ['aaa', 'aa'],
  ['', 'new'],
  ['old', ''],
  ['x😀y', 'x😁y'],
  ['a\r\nb', 'a\nb'],
])('difference turns %j into %j', (before, after) => {
  const a = textOf(before);
  const result = difference(a, textOf(after)).apply(a);
  expect(result.eq(Text.of(after.split('\n')))).toBe(true);
});
