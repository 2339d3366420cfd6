import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Replica } from 'webbft';
import { Claims } from '../src/claims.ts';

const replica = (count: number, changes: Partial<Replica> = {}): Replica => ({
  id: 3,
  url: 'ws://127.0.0.1:7103/ws',
  state: 'open',
  suspect: { reason: 'divergent', count, last: 0 },
  ...changes,
});

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

test('a replica is asked when it was caught again, and not without end', async () => {
  const asked: number[] = [];
  const answers = [
    { version: 7, text: 'voued' },
    { version: 9, text: 'voted' },
    { version: 7, text: 'voted' },
  ];
  const told: unknown[] = [];
  const claims = new Claims(
    async (id) => {
      asked.push(id);
      const answer = answers.shift();
      if (!answer) throw new Error('TIMEOUT');
      return answer;
    },
    () => ({ version: 7, text: 'voted' }),
    () => told.push(claims.all.get(3)),
  );
  const caught = async (count: number) => {
    claims.follow([replica(count)]);
    await vi.advanceTimersByTimeAsync(0);
  };
  await caught(1);
  await caught(2);
  expect(asked).toEqual([3]);
  await vi.advanceTimersByTimeAsync(10_000);
  await caught(1);
  expect(asked).toEqual([3]);
  for (const count of [2, 3, 4]) {
    await caught(count);
    await vi.advanceTimersByTimeAsync(10_000);
  }
  expect(asked).toEqual([3, 3, 3, 3]);
  expect(told).toEqual([
    { kind: 'asking' },
    { kind: 'text', before: 'vo', voted: 'ted', claimed: 'ued' },
    { kind: 'version', voted: 7, claimed: 9 },
    { kind: 'same' },
    { kind: 'nothing' },
  ]);
});

test('nobody is asked who did not contradict, is not there, or before there is a text', () => {
  const ask = vi.fn();
  const none = new Claims(
    ask,
    () => ({ version: 1, text: '' }),
    () => {},
  );
  none.follow([
    replica(1, { suspect: { reason: 'silent', count: 1, last: 0 } }),
    replica(1, { state: 'waiting' }),
    { id: 0, url: 'ws://127.0.0.1:7100/ws', state: 'open' },
  ]);
  new Claims(
    ask,
    () => null,
    () => {},
  ).follow([replica(1)]);
  expect(ask).not.toHaveBeenCalled();
});
