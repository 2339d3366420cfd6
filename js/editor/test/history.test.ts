import { describe, expect, test } from 'vitest';
import { DocumentHistory, readHistory } from '../src/history.ts';
import type { EditEvent, Span } from '../src/service.ts';

const edit = (version: number, author: string, ...spans: Span[]): EditEvent => ({
  version,
  author,
  tag: 't',
  time: version * 1_000_000,
  spans,
});
const EDITS = [
  edit(6, 'ann', { from: 5, to: 5, insert: ' there' }),
  edit(7, 'ann', { from: 0, to: 1, insert: 'H' }),
  edit(8, 'bob', { from: 5, to: 11, insert: '' }, { from: 11, to: 11, insert: '!' }),
];

describe('DocumentHistory', () => {
  const history = new DocumentHistory(5, 'hello', EDITS);

  test('has the text of every version, with author and time', () => {
    const told = [5, 6, 7, 8].map((version) => {
      const { text, edit } = history.at(version);
      return [text.toString(), edit?.author, edit?.time.toISOString()];
    });
    expect(told).toEqual([
      ['hello', undefined, undefined],
      ['hello there', 'ann', '1970-01-01T00:00:06.000Z'],
      ['Hello there', 'ann', '1970-01-01T00:00:07.000Z'],
      ['Hello!', 'bob', '1970-01-01T00:00:08.000Z'],
    ]);
    expect([history.oldest, history.latest]).toEqual([5, 8]);
    expect([history.at(1).version, history.at(99).version]).toEqual([5, 8]);
  });

  test('tells who wrote one after the other', () => {
    expect(history.stretches).toEqual([
      { author: 'ann', edits: 2 },
      { author: 'bob', edits: 1 },
    ]);
  });

  test('refuses edits that do not follow on each other or do not fit', () => {
    expect(() => new DocumentHistory(5, 'hello', EDITS.slice(1))).toThrow(RangeError);
    const far = edit(6, 'ann', { from: 9, to: 9, insert: 'x' });
    expect(() => new DocumentHistory(5, 'hello', [far])).toThrow(RangeError);
  });
});

test('readHistory asks again when the oldest version was given up in between', async () => {
  const tooOld = Object.assign(new Error('SERVICE'), {
    name: 'WebBftError',
    code: 'SERVICE',
    detail: { code: 'tooOld', message: 'too old' },
  });
  const answers = [
    { oldest: 4, version: 8, text: 'hell' },
    tooOld,
    { oldest: 5, version: 8, text: 'hello' },
    { version: 8, edits: EDITS },
  ];
  const asked: string[] = [];
  const client = {
    invokeUnordered: async (op: string) => {
      asked.push(op);
      const answer = answers.shift();
      if (answer instanceof Error) throw answer;
      return answer;
    },
  };
  const history = await readHistory(client as never, 'notes');
  expect(history.at(8).text.toString()).toBe('Hello!');
  expect(asked).toEqual(['history', 'since', 'history', 'since']);
});
