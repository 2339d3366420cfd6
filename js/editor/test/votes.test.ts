import { describe, expect, test } from 'vitest';
import type { Evidence } from 'webbft';
import { agreedLeader, parseReport, type Report } from '../src/reports.ts';
import { callSubject, eventSubject, VoteBook } from '../src/votes.ts';

const votes = (matching: number[]): Evidence => ({
  needed: 2,
  matching,
  differing: [],
  silent: [0, 1, 2, 3].filter((id) => !matching.includes(id)),
  viewId: 0,
});

describe('VoteBook', () => {
  test('keeps the latest votes on calls and events, each by its own name', () => {
    const book = new VoteBook();
    book.record({
      call: '1',
      event: 'doc/a',
      number: 7n,
      evidence: votes([0, 1]),
    });
    book.record({ call: '7', evidence: votes([0, 1, 2]) });
    book.record({
      call: '1',
      event: 'doc/a',
      number: 7n,
      evidence: votes([0, 1, 3]),
    });
    expect(book.on(eventSubject('doc/a', 7n))).toEqual(votes([0, 1, 3]));
    expect(book.on(callSubject('7'))).toEqual(votes([0, 1, 2]));
    expect(book.on(eventSubject('doc/a', 8n))).toBeUndefined();
    expect(book.on(eventSubject('doc/b', 7n))).toBeUndefined();
  });

  test('forgets the oldest', () => {
    const book = new VoteBook();
    for (let call = 0; call < 100; call += 1) {
      book.record({ call: `${call}`, evidence: votes([call]) });
    }
    expect(book.on(callSubject('35'))).toBeUndefined();
    expect(book.on(callSubject('36'))).toEqual(votes([36]));
  });
});

describe('reports', () => {
  const report = (regency: number, leader: number): Report => ({
    view: 0,
    regency,
    leader,
    lastCid: 5,
    learner: false,
  });

  test('of any other shape are none', () => {
    const json = { ...report(1, 1), sessions: 3 };
    expect(parseReport(json)).toEqual(report(1, 1));
    expect(parseReport({ ...json, transfer: { held: 1, chunks: 9 } })).toEqual({
      ...report(1, 1),
      transfer: { held: 1, chunks: 9 },
    });
    for (const wrong of [null, 'x', {}, { ...json, leader: '<b>' }, { ...json, lastCid: -1 }]) {
      expect(parseReport(wrong)).toBeNull();
    }
  });

  test('name the leader where f + 1 of them agree, and not one alone', () => {
    expect(agreedLeader([report(0, 0), report(9, 3)], 2)).toBeNull();
    expect(agreedLeader([report(0, 0), report(0, 0), report(9, 3)], 2)).toEqual({
      regency: 0,
      replica: 0,
    });
    expect(agreedLeader([report(1, 1), report(0, 0), report(1, 1), report(0, 0)], 2)).toEqual({
      regency: 1,
      replica: 1,
    });
  });
});
