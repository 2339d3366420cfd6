// Views that change, obstacles to a quorum, aborts at every point, and drain: with a played core.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { WebBftClient } from '../src/client.js';
import type { ClientEvent, Options, Refusal, Service, Status, View } from '../src/types.js';
import { type Effect, encode, evidence, FakeSocket, fakeModule, view } from './fakes.js';

const next: View = { ...view, number: 1, members: view.members.map((member) => ({ ...member })) };
const moved: View = {
  ...next,
  members: next.members.map((member) => (member.id === 13 ? { ...member, id: 20 } : member)),
};

let fake: ReturnType<typeof fakeModule>;

beforeEach(() => {
  vi.useFakeTimers();
  FakeSocket.all = [];
  fake = fakeModule();
});

afterEach(() => {
  vi.useRealTimers();
});

async function started(options: Partial<Options> = {}): Promise<WebBftClient<Service>> {
  const client = new WebBftClient<Service>({ view, WebSocket: FakeSocket, ...options }, fake.load);
  client.connect().catch(() => {});
  await vi.advanceTimersByTimeAsync(0);
  return client;
}

function effects(...list: Effect[]): void {
  fake.core.effects.push(...list);
  FakeSocket.all.at(-1)?.onopen?.();
}

/** The core's status from now on: nobody is connected, and some refuse. */
function refuse(refusals: (Refusal | undefined)[]): void {
  const { core } = fake;
  const status = core.status.bind(core);
  core.status = (): Status => {
    const plain = status();
    const replicas = plain.replicas.map((replica, index) => {
      const refusal = refusals[index];
      return refusal ? { ...replica, refused: 'because', refusal } : replica;
    });
    return { ...plain, replicas };
  };
  effects({ type: 'status' });
}

describe('another view', () => {
  it('is got when f + 1 replicas refuse the old one, and calls are taken along', async () => {
    const get = vi.fn().mockResolvedValueOnce(view).mockResolvedValue(moved);
    const client = await started({ view: get });
    const changes: ClientEvent[] = [];
    client.on('view', (event) => changes.push(event));
    const [old] = fake.made;
    if (!old) throw new Error('no core was made');
    const sent = client.invoke('put', { key: 'a' });
    const rejected = expect(sent).rejects.toMatchObject({ code: 'VIEW', outcome: 'unknown' });
    const unsent = client.invoke('put', { key: 'b' });
    const read = client.invokeUnordered('get', { key: 'c' });
    const subscription = client.invokeSubscribe('kv');
    effects(
      { type: 'subscribed', call: 4, next: 3, evidence },
      { type: 'event', call: 4, number: 3, payload: encode('x'), evidence },
    );
    old.cancel = (call: number) => {
      const outcome = call === 2 ? 'not-sent' : 'unknown';
      old.effects.push({ type: 'failed', call, code: 'ABORTED', message: '', outcome, evidence });
    };
    refuse(['view']);
    await vi.advanceTimersByTimeAsync(0);
    expect(get).toHaveBeenCalledTimes(1);
    refuse(['view', 'view']);
    await vi.advanceTimersByTimeAsync(0);
    expect(get).toHaveBeenCalledTimes(2);

    expect(changes).toEqual([{ type: 'view', from: 0, to: 1, joined: [20], left: [13] }]);
    await rejected;
    expect(old.freed).toBe(true);
    expect(fake.core.created.view).toBe(moved);
    expect(fake.core.created.secret).toEqual(old.created.secret);
    const calls = fake.core.inputs.filter(([kind]) => kind !== 'start');
    expect(calls.map(([kind, what]) => [kind, what])).toEqual([
      ['invoke', { op: 'put', key: 'b' }],
      ['query', { op: 'get', key: 'c' }],
      ['subscribe', 'kv'],
    ]);
    const gaps: ClientEvent[] = [];
    client.on('gap', (gap) => gaps.push(gap));
    effects(
      { type: 'completed', call: 1, result: encode({ ok: 'b' }), evidence },
      { type: 'completed', call: 2, result: encode({ ok: 'c' }), evidence },
      { type: 'subscribed', call: 3, next: 6, evidence },
      { type: 'event', call: 3, number: 6, payload: encode('y'), evidence },
    );
    expect(await Promise.all([unsent, read])).toEqual(['b', 'c']);
    expect(gaps).toEqual([{ type: 'gap', event: 'kv', missedFrom: 4n, next: 6n }]);
    const iterator = subscription[Symbol.asyncIterator]();
    const taken = [await iterator.next(), await iterator.next()].map(({ value }) => value);
    expect(taken.map((message) => [message?.value, message?.gapBefore])).toEqual([
      ['x', false],
      ['y', true],
    ]);
    await client.close();
  });

  it('is taken from updateView, unless it is none of this service', async () => {
    const client = await started();
    expect(() => client.updateView({ ...next, service: '08'.repeat(16) })).toThrow(
      expect.objectContaining({ code: 'VIEW' }),
    );
    const { create } = fake.module;
    fake.module.create = () => {
      throw { code: 'VIEW', message: 'view.f is missing' };
    };
    expect(() => client.updateView(next)).toThrow(expect.objectContaining({ code: 'VIEW' }));
    fake.module.create = create;
    expect(fake.made.length).toBe(1);
    client.updateView(next);
    await vi.advanceTimersByTimeAsync(0);
    expect(fake.core.created.view).toBe(next);
    await client.close();
    expect(() => client.updateView(view)).toThrow(expect.objectContaining({ code: 'CLOSED' }));
  });
});

describe('where no quorum can be had', () => {
  it.each([
    ['view', 'VIEW', false],
    ['service', 'VIEW', false],
    ['key', 'AUTH', false],
    ['version', 'PROTOCOL', false],
    ['busy', 'OFFLINE', true],
  ] as const)('%s: %s', async (refusal, code, retryable) => {
    const client = await started();
    refuse([refusal, refusal]);
    const connected = expect(client.connect({ timeoutMs: 50 })).rejects.toMatchObject({
      code,
      retryable,
      outcome: 'not-sent',
    });
    const failed = client.invoke('get', {}, { offline: 'fail' });
    await expect(failed).rejects.toMatchObject({ code, outcome: 'not-sent' });
    const call = client.invoke('get', {});
    const outcome = 'unknown';
    effects({ type: 'failed', call: 1, code: 'NO_QUORUM', message: 'few', outcome, evidence });
    await expect(call).rejects.toMatchObject({
      code: code === 'OFFLINE' ? 'NO_QUORUM' : code,
      outcome,
      quorum: { needed: 3 },
    });
    await vi.advanceTimersByTimeAsync(50);
    await connected;
    await client.close();
  });
});

describe('an abort', () => {
  const load = () => new Promise<never>(() => {});

  it('before the start: not sent', async () => {
    const client = new WebBftClient<Service>({ view, WebSocket: FakeSocket }, load);
    const call = client.invoke('get', {}, { signal: AbortSignal.abort('no') });
    await expect(call).rejects.toMatchObject({ code: 'ABORTED', outcome: 'not-sent', cause: 'no' });
    expect(client.status.phase).toBe('idle');
  });

  it('while the client is being loaded: not sent', async () => {
    const client = new WebBftClient<Service>({ view, WebSocket: FakeSocket }, load);
    const controller = new AbortController();
    const { signal } = controller;
    const call = client.invoke('get', {}, { signal });
    const subscription = client.invokeSubscribe('kv', undefined, { signal });
    controller.abort();
    const aborted = { code: 'ABORTED', outcome: 'not-sent', retryable: false };
    await expect(call).rejects.toMatchObject(aborted);
    await expect(subscription.ready).rejects.toMatchObject(aborted);
    await client.drain();
    await client.close();
  });

  it.each(['not-sent', 'unknown', 'executed'] as const)(
    'after that: as the core says, %s',
    async (outcome) => {
      const client = await started();
      const controller = new AbortController();
      const call = client.invoke('get', {}, { signal: controller.signal });
      fake.core.cancel = (call: number) => {
        const failed = { code: 'ABORTED', message: 'cancelled', outcome } as const;
        fake.core.effects.push({ type: 'failed', call, ...failed, evidence });
      };
      controller.abort();
      await expect(call).rejects.toMatchObject({
        code: 'ABORTED',
        outcome,
        retryable: false,
        quorum: { matching: [10, 11, 12], differing: [13] },
      });
      await client.close();
    },
  );

  it('after the result changes nothing', async () => {
    const client = await started();
    const controller = new AbortController();
    const call = client.invoke('get', {}, { signal: controller.signal });
    effects({ type: 'completed', call: 1, result: encode({ ok: 1 }), evidence });
    controller.abort();
    expect(await call).toBe(1);
    expect(fake.core.told('cancel')).toEqual([]);
    await client.close();
  });
});

describe('drain', () => {
  it('waits for what is pending', async () => {
    const client = await started();
    const call = client.invoke('get', {});
    let drained = false;
    const draining = client.drain().then(() => {
      drained = true;
    });
    await vi.advanceTimersByTimeAsync(0);
    expect(drained).toBe(false);
    effects({ type: 'completed', call: 1, result: encode({ ok: 1 }), evidence });
    await Promise.all([draining, call]);
    await client.close();
  });

  it('ends with the client', async () => {
    const client = await started();
    const call = client.invoke('get', {});
    const draining = client.drain();
    await client.close();
    await expect(call).rejects.toMatchObject({ code: 'CLOSED' });
    await draining;
  });
});

it('refuses calls beyond maxQueue while it is being loaded', async () => {
  const options = { view, WebSocket: FakeSocket, maxQueue: 1 };
  const client = new WebBftClient<Service>(options, () => new Promise<never>(() => {}));
  client.invoke('get', {}).catch(() => {});
  await expect(client.invoke('get', {})).rejects.toMatchObject({
    code: 'QUEUE_FULL',
    outcome: 'not-sent',
    retryable: true,
  });
  await client.close();
});
