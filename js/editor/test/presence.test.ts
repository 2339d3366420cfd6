import { ChangeSet } from '@codemirror/state';
import { describe, expect, test } from 'vitest';
import { Presence, REPEAT_MS, tidyName, whereabouts } from '../src/presence.ts';

const at = (version: number, anchor: number, head = anchor, name = 'Ada') => ({
  page: '1',
  name,
  version,
  anchor,
  head,
});

describe('Presence', () => {
  test('moves a selection along with the edits accepted since', () => {
    const presence = new Presence();
    presence.accepted(4, ChangeSet.of({ from: 0, insert: 'abc' }, 10));
    expect(presence.hear('p', at(4, 5, 8), 0)).toBe('came');
    expect(presence.hear('p', at(4, 5, 9), 1)).toBe('known');
    presence.accepted(5, ChangeSet.of({ from: 2, to: 4 }, 13));
    presence.accepted(6, ChangeSet.of({ from: 11, insert: 'x' }, 11));
    const selection = { anchor: 3, head: 7 };
    expect(presence.people(6, 12)).toEqual([{ id: 'p/1', client: 'p', name: 'Ada', selection }]);
  });

  test('shows the earlier place of somebody who is ahead', () => {
    const presence = new Presence();
    presence.hear('p', at(3, 2), 0);
    presence.hear('p', at(4, 7), 1);
    presence.hear('p', at(5, 8), 2);
    expect(presence.people(3, 5)[0]?.selection).toBeNull();
    presence.accepted(4, ChangeSet.of({ from: 2, insert: 'abcde' }, 5));
    expect(presence.people(4, 10)[0]?.selection).toEqual({ anchor: 7, head: 7 });
    presence.accepted(5, ChangeSet.of({ from: 7, insert: 'f' }, 10));
    expect(presence.people(5, 11)[0]?.selection).toEqual({ anchor: 8, head: 8 });
  });

  test('does not say where somebody is whose version it does not know', () => {
    const presence = new Presence();
    presence.hear('ahead', at(9, 1), 0);
    presence.hear('behind', at(2, 1), 0);
    presence.accepted(6, ChangeSet.of({ from: 0, insert: 'a' }, 3));
    presence.hear('outside', at(6, 5), 0);
    expect(presence.people(6, 4).map(({ id, selection }) => [id, selection])).toEqual([
      ['ahead/1', null],
      ['behind/1', null],
      ['outside/1', null],
    ]);
    presence.accepted(9, ChangeSet.of({ from: 0, insert: 'a' }, 3));
    expect(presence.people(9, 4)[0]?.selection).toEqual({ anchor: 1, head: 1 });
  });

  test('forgets who leaves, and who is silent for long', () => {
    const presence = new Presence();
    presence.hear('a', at(0, 0, 0, 'A'), 0);
    presence.hear('b', at(0, 0, 0, 'B'), REPEAT_MS);
    expect(presence.hear('b', { ...at(0, 0), leaves: true }, REPEAT_MS)).toBe('left');
    expect(presence.forget(3 * REPEAT_MS - 1)).toBe(false);
    expect(presence.people(0, 0).map(({ name }) => name)).toEqual(['A']);
    expect(presence.forget(3 * REPEAT_MS)).toBe(true);
    expect(presence.people(0, 0)).toEqual([]);
  });

  test('shows a bounded number of people', () => {
    const presence = new Presence();
    for (let id = 0; id < 1000; id++) presence.hear(`${id}`, at(0, 0), 0);
    expect(presence.people(0, 0).length).toBe(50);
  });
});

test.each([
  [null],
  ['text'],
  [{ ...at(1, 0), version: -1 }],
  [at(1, 0.5)],
  [{ ...at(1, 0), head: undefined }],
  [{ ...at(1, 0), name: 1 }],
  [{ ...at(1, 0), page: undefined }],
  [at(1, 0, 0, 'a\u202eb')],
  [at(1, 0, 0, 'a'.repeat(33))],
])('%j is nobody’s whereabouts', (value) => {
  expect(whereabouts(value)).toBeNull();
});

test('names are tidied', () => {
  expect(tidyName('  Ada\n\u202eLovelace ')).toBe('Ada Lovelace');
  expect(tidyName('😀'.repeat(20))).toBe('😀'.repeat(16));
  expect(tidyName(`a${'😀'.repeat(20)}`)).toBe(`a${'😀'.repeat(15)}`);
});
