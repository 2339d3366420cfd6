import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { WebBftClient } from '../src/client.js';
import { WebBftError } from '../src/errors.js';
import type { ClientEvent, Message, Options, Service, Status } from '../src/types.js';
import { type Effect, encode, evidence, FakeSocket, fakeModule, view } from './fakes.js';

interface Kv extends Service {
  ops: {
    get: { req: { key: string }; res: { value: string | null } };
    put: { req: { key: string; value: string }; res: { previous: string | null } };
  };
  events: { kv: { key: string; value: string | null } };
}

const votes = {
  viewId: 0,
  needed: 3,
  matching: [10, 11, 12],
  differing: [13],
  silent: [],
  order: 7n,
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

function make(options: Partial<Options> = {}): WebBftClient<Kv> {
  return new WebBftClient<Kv>({ view, WebSocket: FakeSocket, ...options }, fake.load);
}

/** A client whose core is loaded. */
async function started(options: Partial<Options> = {}): Promise<WebBftClient<Kv>> {
  FakeSocket.all = [];
  const client = make(options);
  const connected = client.connect();
  await vi.advanceTimersByTimeAsync(0);
  become('ready');
  await connected;
  return client;
}

/** Hands effects to the client, as an input would bring them about. */
function effects(...list: Effect[]): void {
  fake.core.effects.push(...list);
  FakeSocket.all[0]?.onopen?.();
}

function become(phase: Status['phase']): void {
  fake.core.phase = phase;
  effects({ type: 'status' });
}

describe('before connect()', () => {
  it('does nothing', () => {
    const load = vi.fn();
    const client = new WebBftClient<Kv>({ view, WebSocket: FakeSocket }, load);
    expect(load).not.toHaveBeenCalled();
    expect(FakeSocket.all).toEqual([]);
    expect(vi.getTimerCount()).toBe(0);
    expect(client.status).toEqual({
      phase: 'idle',
      viewId: 0,
      n: 4,
      f: 1,
      connected: 0,
      needed: 0,
      pending: 0,
      replicas: view.members.map(({ id, url }) => ({ id, url, state: 'closed' })),
    });
    expect(client.clientId).toBeUndefined();
  });
});

describe('connect', () => {
  it('dials every replica and waits for a quorum, or for all', async () => {
    const client = make();
    const phases: string[] = [];
    client.on('status', ({ status }) => phases.push(status.phase));
    const quorum = client.connect();
    const all = client.connect({ wait: 'all' });
    let connected = '';
    quorum.then(() => {
      connected += 'quorum ';
    });
    all.then(() => {
      connected += 'all';
    });
    await vi.advanceTimersByTimeAsync(0);
    expect(FakeSocket.all.map(({ url }) => url)).toEqual(view.members.map(({ url }) => url));
    expect(FakeSocket.all.every(({ binaryType }) => binaryType === 'arraybuffer')).toBe(true);
    expect(client.clientId).toBe('ab');

    become('degraded');
    await quorum;
    await vi.advanceTimersByTimeAsync(0);
    expect(connected).toBe('quorum ');
    become('ready');
    await all;
    expect(phases).toEqual(['loading', 'connecting', 'degraded', 'ready']);
  });

  it('gives up after its timeout, naming who is missing, and the client goes on', async () => {
    const client = make();
    const connected = client.connect({ timeoutMs: 500 });
    const failure = expect(connected).rejects.toMatchObject({
      code: 'OFFLINE',
      message: `0 of 3 replicas connected within 500 ms; not connected: ${view.members
        .map(({ url }) => url)
        .join(', ')}`,
      outcome: 'not-sent',
      retryable: true,
    });
    await vi.advanceTimersByTimeAsync(500);
    await failure;
    become('ready');
    await client.connect();
  });

  it('ends on the signal', async () => {
    const client = make();
    const controller = new AbortController();
    const connected = client.connect({ signal: controller.signal });
    controller.abort('enough');
    await expect(connected).rejects.toMatchObject({ code: 'ABORTED', cause: 'enough' });
    await expect(client.connect({ signal: controller.signal })).rejects.toMatchObject({
      code: 'ABORTED',
    });
  });

  it('tries again after a failure to load', async () => {
    const load = vi.fn(fake.load).mockRejectedValueOnce(new WebBftError('WASM_LOAD', 'no'));
    const client = new WebBftClient<Kv>({ view, WebSocket: FakeSocket }, load);
    const call = client.invoke('get', { key: 'a' });
    await expect(client.connect()).rejects.toMatchObject({ code: 'WASM_LOAD' });
    await expect(call).rejects.toMatchObject({ code: 'WASM_LOAD', outcome: 'not-sent' });
    expect(client.status.phase).toBe('idle');
    const connected = client.connect();
    await vi.advanceTimersByTimeAsync(0);
    become('ready');
    await connected;
  });

  it('says what is wrong with the view', async () => {
    fake.module.create = () => {
      throw { code: 'VIEW', message: 'view.f is missing' };
    };
    await expect(make().connect()).rejects.toMatchObject({
      code: 'VIEW',
      message: 'view.f is missing',
    });
    const lost = make({ view: () => Promise.reject(new Error('404')) });
    await expect(lost.connect()).rejects.toMatchObject({ code: 'VIEW' });
  });

  it('needs a WebSocket', async () => {
    const client = make({ WebSocket: 'ws' as never });
    await expect(client.connect()).rejects.toMatchObject({ code: 'INPUT' });
  });

  it('draws a key and a seed, or takes the caller’s key', async () => {
    await started({ timeoutMs: 5, maxQueue: 9, reconnect: { minMs: 1, maxMs: 2 } });
    const { secret, seed, options } = fake.core.created;
    expect([secret.length, seed.length]).toEqual([32, 32]);
    expect(secret).not.toEqual(seed);
    expect(options).toEqual({ callTimeout: 5, maxPending: 9, backoffMin: 1, backoffMax: 2 });
    const identity = new Uint8Array(32).fill(3);
    await started({ identity });
    expect(fake.core.created.secret).toBe(identity);
  });
});

describe('links', () => {
  it('feeds messages in and sends what the core says', async () => {
    await started();
    const [first, second] = FakeSocket.all;
    first?.onmessage?.({ data: new Uint8Array([1, 2]).buffer });
    effects({ type: 'send', replica: 1, bytes: new Uint8Array([3]) });
    expect(fake.core.told('socketMessage')).toEqual([[0, [1, 2]]]);
    expect(second?.sent).toEqual([[3]]);
  });

  it('reports text as a message that is none', async () => {
    await started();
    FakeSocket.all[2]?.onmessage?.({ data: 'hello' });
    expect(fake.core.told('socketMessage')).toEqual([[2, []]]);
  });

  it('forgets a socket that was let go, and tells of a new one', async () => {
    const client = await started();
    const reconnects: ClientEvent[] = [];
    client.on('reconnect', (event) => reconnects.push(event));
    const old = FakeSocket.all[3];
    effects({ type: 'close', replica: 3 }, { type: 'open', replica: 3 });
    expect(old?.closed).toBe(true);
    expect([old?.onmessage, old?.onclose]).toEqual([null, null]);
    expect(FakeSocket.all.length).toBe(5);
    FakeSocket.all[4]?.onclose?.();
    expect(fake.core.told('socketClosed')).toEqual([[3]]);
    fake.core.networkChanged = () => fake.core.effects.push({ type: 'open', replica: 3 });
    client.reconnectNow();
    expect(reconnects).toEqual([
      { type: 'reconnect', replica: 13, cause: 'backoff' },
      { type: 'reconnect', replica: 13, cause: 'manual' },
    ]);
  });

  it('takes a refused constructor for a closed socket', async () => {
    class Refusing extends FakeSocket {
      constructor(url: string) {
        super(url);
        throw new DOMException('mixed content', 'SecurityError');
      }
    }
    const log = vi.fn();
    const client = make({ WebSocket: Refusing, log });
    client.connect().catch(() => {});
    await vi.advanceTimersByTimeAsync(0);
    expect(fake.core.told('socketClosed')).toEqual([[0], [1], [2], [3]]);
    expect(log).toHaveBeenCalledWith({
      level: 'warn',
      msg: 'the link to a replica failed',
      fields: { url: 'ws://replica-0.test/ws', reason: 'SecurityError: mixed content' },
    });
    await client.close();
  });

  it('lets the core act at its deadline', async () => {
    await started();
    const advance = vi.spyOn(fake.core, 'advance');
    fake.core.deadline = performance.now() + 250;
    effects();
    advance.mockClear();
    await vi.advanceTimersByTimeAsync(249);
    expect(advance).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(2);
    expect(advance).toHaveBeenCalled();
  });
});

describe('calls', () => {
  it('gives the agreed value and who agreed', async () => {
    const client = await started();
    const seen: ClientEvent[] = [];
    client.on('votes', (event) => seen.push(event));
    const call = client.invoke('put', { key: 'a', value: '1' }, { timeoutMs: 70 });
    expect(fake.core.told('invoke')).toEqual([[{ op: 'put', key: 'a', value: '1' }, 70]]);
    expect(client.status.pending).toBe(1);
    effects({ type: 'completed', call: 1, result: encode({ ok: { previous: null } }), evidence });
    expect(await call).toEqual({ previous: null });
    expect(await call.verified()).toEqual({ value: { previous: null }, evidence: votes });
    expect(client.status.pending).toBe(0);

    const late = { ...evidence, differing: [], matching: [10, 11, 12, 13] };
    effects({ type: 'votes', call: 1, evidence: late });
    expect(seen).toEqual([
      { type: 'votes', kind: 'call', call: call.id, evidence: votes },
      {
        type: 'votes',
        kind: 'late',
        call: call.id,
        evidence: { ...votes, differing: [], matching: [10, 11, 12, 13] },
      },
    ]);
  });

  it('keeps calls in order that are made before the core is there', async () => {
    const client = make();
    const first = client.invoke('get', { key: 'a' });
    const second = client.invokeUnordered('get', { key: 'b' });
    await vi.advanceTimersByTimeAsync(0);
    const asked = fake.core.inputs.filter(([kind]) => kind === 'invoke' || kind === 'query');
    expect(asked.map(([kind, request]) => [kind, request])).toEqual([
      ['invoke', { op: 'get', key: 'a' }],
      ['query', { op: 'get', key: 'b' }],
    ]);
    effects({ type: 'completed', call: 2, result: encode({ ok: 2 }), evidence });
    effects({ type: 'completed', call: 1, result: encode({ ok: 1 }), evidence });
    expect(await Promise.all([first, second])).toEqual([1, 2]);
  });

  it('rejects with the service’s error', async () => {
    const client = await started();
    const call = client.invoke('get', { key: '' });
    const detail = { code: 'emptyKey' };
    effects({ type: 'completed', call: 1, result: encode({ error: detail }), evidence });
    await expect(call.verified()).rejects.toMatchObject({
      code: 'SERVICE',
      message: 'the service answers: {"code":"emptyKey"}',
      detail,
      outcome: 'executed',
      retryable: false,
      quorum: votes,
      docs: 'webbft/docs/errors/SERVICE.md',
    });
  });

  it.each([
    ['no JSON', new Uint8Array([255])],
    ['another envelope', encode({ result: 1 })],
  ])('rejects agreed bytes that are %s', async (_, result) => {
    const client = await started();
    const call = client.invoke('get', { key: 'a' });
    effects({ type: 'completed', call: 1, result, evidence });
    await expect(call).rejects.toMatchObject({ code: 'DECODE', outcome: 'executed' });
  });

  it('rejects with what the core says', async () => {
    const client = await started();
    const call = client.invoke('get', { key: 'a' });
    const failed = { code: 'TIMEOUT', message: 'no quorum', outcome: 'unknown' } as const;
    effects({ type: 'failed', call: 1, ...failed, evidence });
    await expect(call).rejects.toMatchObject({ ...failed, retryable: true, quorum: votes });
  });

  it('rejects requests that it cannot send', async () => {
    const client = await started();
    const cycle: { key: string; self?: unknown } = { key: 'a' };
    cycle.self = cycle;
    await expect(client.invoke('get', cycle)).rejects.toMatchObject({ code: 'INPUT' });
    await expect(client.invoke('get', 'a' as never)).rejects.toMatchObject({ code: 'INPUT' });
    fake.core.invoke = () => {
      throw { code: 'QUEUE_FULL', message: '1024 calls are pending already' };
    };
    await expect(client.invoke('get', { key: 'a' })).rejects.toMatchObject({
      code: 'QUEUE_FULL',
      outcome: 'not-sent',
    });
  });

  it('is aborted, before and after it is sent', async () => {
    const client = make();
    const controller = new AbortController();
    const { signal } = controller;
    const queued = client.invoke('get', { key: 'a' }, { signal });
    controller.abort();
    await expect(queued).rejects.toMatchObject({ code: 'ABORTED', outcome: 'not-sent' });
    await expect(client.invoke('get', { key: 'a' }, { signal })).rejects.toMatchObject({
      code: 'ABORTED',
    });
    await vi.advanceTimersByTimeAsync(0);
    expect(fake.core.told('invoke')).toEqual([]);

    const later = new AbortController();
    const sent = client.invoke('get', { key: 'a' }, { signal: later.signal });
    later.abort();
    expect(fake.core.told('cancel')).toEqual([[1]]);
    await expect(sent).rejects.toMatchObject({ code: 'ABORTED', outcome: 'unknown' });
  });

  it('fails at once when asked to, without a quorum', async () => {
    const client = await started();
    become('offline');
    const call = client.invoke('get', { key: 'a' }, { offline: 'fail' });
    await expect(call).rejects.toMatchObject({ code: 'OFFLINE', outcome: 'not-sent' });
    expect(fake.core.told('invoke')).toEqual([]);
  });

  it('times out while the core is being loaded', async () => {
    const client = new WebBftClient<Kv>(
      { view, WebSocket: FakeSocket },
      () => new Promise(() => {}),
    );
    const call = expect(client.invoke('get', { key: 'a' }, { timeoutMs: 50 })).rejects;
    const timedOut = call.toMatchObject({ code: 'TIMEOUT', outcome: 'not-sent' });
    await vi.advanceTimersByTimeAsync(50);
    await timedOut;
  });
});

describe('subscriptions', () => {
  const event = (number: number, value: unknown): Effect => ({
    type: 'event',
    call: 1,
    number,
    payload: encode(value),
    evidence,
  });

  it('calls the listener in order and tells of gaps', async () => {
    const client = await started();
    const messages: Message<Kv['events']['kv']>[] = [];
    const gaps: ClientEvent[] = [];
    client.on('gap', (gap) => gaps.push(gap));
    const seen: ClientEvent[] = [];
    client.on('votes', (event) => seen.push(event));
    const lateVotes = { differing: [], matching: [10, 11, 12, 13] };
    const subscription = client.invokeSubscribe('kv', (message) => messages.push(message));
    expect(fake.core.told('subscribe')).toEqual([['kv']]);
    effects({ type: 'subscribed', call: 1, next: 5, evidence });
    await subscription.ready;
    const value = { key: 'a', value: '1' };
    effects(event(5, value), { type: 'gap', call: 1, missedFrom: 6, next: 9 }, event(9, value));
    expect(messages).toEqual([
      { value, number: 5n, evidence: votes, gapBefore: false },
      { value, number: 9n, evidence: votes, gapBefore: true },
    ]);
    const late = { ...evidence, differing: [], matching: [10, 11, 12, 13] };
    effects({ type: 'votes', call: 1, number: 9, evidence: late });
    const common = { type: 'votes', call: '1', event: 'kv' };
    expect(seen).toEqual([
      { type: 'votes', kind: 'call', call: '1', evidence: votes },
      { ...common, kind: 'event', number: 5n, evidence: votes },
      { ...common, kind: 'event', number: 9n, evidence: votes },
      { ...common, kind: 'late', number: 9n, evidence: { ...votes, ...lateVotes } },
    ]);
    expect(gaps).toEqual([{ type: 'gap', event: 'kv', missedFrom: 6n, next: 9n }]);

    const done = subscription.unsubscribe();
    expect(fake.core.told('unsubscribe')).toEqual([[1]]);
    effects(event(10, value));
    effects({ type: 'completed', call: 2, result: new Uint8Array(), evidence });
    await done;
    expect(messages.length).toBe(2);
    expect(await subscription.closed).toBeUndefined();
  });

  it('shares one subscription of the core among all listeners of a topic', async () => {
    const client = await started();
    const heard: [string, unknown][] = [];
    const listen = (name: string) =>
      client.invokeSubscribe('kv', ({ value }) => heard.push([name, value]));
    const first = listen('first');
    const second = listen('second');
    effects({ type: 'subscribed', call: 1, next: 1, evidence }, event(1, 'a'));
    await Promise.all([first.ready, second.ready]);
    const third = listen('third');
    await third.ready;
    await first.unsubscribe();
    effects(event(2, 'b'));
    expect(heard).toEqual([
      ['first', 'a'],
      ['second', 'a'],
      ['second', 'b'],
      ['third', 'b'],
    ]);
    expect(fake.core.told('subscribe')).toEqual([['kv']]);
    await second.unsubscribe();
    expect(fake.core.told('unsubscribe')).toEqual([]);
    const done = third.unsubscribe();
    expect(fake.core.told('unsubscribe')).toEqual([[1]]);

    // The replicas are asked again only when they have agreed that the last one is over.
    const again = listen('again');
    expect(fake.core.told('subscribe')).toEqual([['kv']]);
    effects({ type: 'completed', call: 2, result: new Uint8Array(), evidence });
    await done;
    await vi.advanceTimersByTimeAsync(0);
    expect(fake.core.told('subscribe')).toEqual([['kv'], ['kv']]);
    effects({ type: 'subscribed', call: 3, next: 9, evidence });
    effects({ ...event(9, 'c'), call: 3 } as Effect);
    await again.ready;
    expect(heard.at(-1)).toEqual(['again', 'c']);
  });

  it('ends all listeners of a topic with the client, and refuses new ones', async () => {
    const client = await started();
    const [first, second] = [client.invokeSubscribe('kv'), client.invokeSubscribe('kv')];
    effects({ type: 'subscribed', call: 1, next: 1, evidence });
    await client.close();
    expect(await Promise.all([first.closed, second.closed])).toEqual([undefined, undefined]);
    const late = client.invokeSubscribe('kv');
    await expect(late.ready).rejects.toMatchObject({ code: 'CLOSED', outcome: 'not-sent' });
  });

  it('can be iterated', async () => {
    const client = await started();
    const subscription = client.invokeSubscribe('kv');
    effects({ type: 'subscribed', call: 1, next: 1, evidence }, event(1, 'a'), event(2, 'b'));
    const values: unknown[] = [];
    for await (const message of subscription) {
      values.push(message.value);
      if (values.length === 2) effects(event(3, 'c'));
      if (values.length === 3) {
        fake.core.effects.push({
          type: 'completed',
          call: 2,
          result: new Uint8Array(),
          evidence,
        });
        break;
      }
    }
    expect(values).toEqual(['a', 'b', 'c']);
    expect(fake.core.told('unsubscribe')).toEqual([[1]]);
  });

  it('ends with an error where the iterator does not keep up', async () => {
    const client = await started();
    const subscription = client.invokeSubscribe('kv', undefined, { buffer: 2 });
    effects({ type: 'subscribed', call: 1, next: 1, evidence });
    effects(event(1, 'a'), event(2, 'b'), event(3, 'c'));
    expect(await subscription.closed).toMatchObject({ code: 'OVERFLOW' });
    expect(fake.core.told('unsubscribe')).toEqual([[1]]);
  });

  it('or drops the oldest and says so', async () => {
    const client = await started();
    const options = { buffer: 2, overflow: 'drop-oldest' } as const;
    const subscription = client.invokeSubscribe('kv', undefined, options);
    effects({ type: 'subscribed', call: 1, next: 1, evidence });
    effects(event(1, 'a'), event(2, 'b'), event(3, 'c'));
    const iterator = subscription[Symbol.asyncIterator]();
    const taken = [await iterator.next(), await iterator.next()];
    expect(taken.map(({ value }) => [value?.value, value?.gapBefore])).toEqual([
      ['b', true],
      ['c', false],
    ]);
  });

  it('ends with the error of the call, or with one of its events', async () => {
    const client = await started();
    const refused = client.invokeSubscribe('kv');
    const failed = { code: 'REFUSED', message: 'no', outcome: 'not-executed' } as const;
    effects({ type: 'failed', call: 1, ...failed, evidence });
    await expect(refused.ready).rejects.toMatchObject(failed);
    expect(await refused.closed).toMatchObject(failed);

    const garbled = client.invokeSubscribe('kv');
    effects({ type: 'subscribed', call: 2, next: 1, evidence });
    effects({ type: 'event', call: 2, number: 1, payload: new Uint8Array([255]), evidence });
    expect(await garbled.closed).toMatchObject({ code: 'DECODE' });
    expect(fake.core.told('unsubscribe')).toEqual([[2]]);
  });

  it('ends on its signal, even before it has begun', async () => {
    const client = await started();
    const controller = new AbortController();
    const subscription = client.invokeSubscribe('kv', undefined, { signal: controller.signal });
    controller.abort();
    expect(await subscription.closed).toMatchObject({ code: 'ABORTED' });
    expect(fake.core.told('cancel')).toEqual([[1]]);
    const again = client.invokeSubscribe('kv', undefined, { signal: controller.signal });
    expect(await again.closed).toMatchObject({ code: 'ABORTED' });
  });

  it('survives a listener that throws', async () => {
    vi.useRealTimers();
    const uncaught = new Promise((resolve) => process.once('uncaughtException', resolve));
    const client = make();
    const values: unknown[] = [];
    const subscription = client.invokeSubscribe('kv', ({ value }) => {
      values.push(value);
      if (values.length === 1) throw new Error('of the application');
    });
    await vi.waitFor(() => expect(fake.made.length).toBe(1));
    effects({ type: 'subscribed', call: 1, next: 1, evidence }, event(1, 'a'), event(2, 'b'));
    await subscription.ready;
    expect(values).toEqual(['a', 'b']);
    expect(await uncaught).toMatchObject({ message: 'of the application' });
    await client.close();
  });
});

describe('the end', () => {
  it('closes everything and rejects what is unfinished', async () => {
    const client = await started();
    const call = client.invoke('get', { key: 'a' });
    const subscription = client.invokeSubscribe('kv');
    effects({ type: 'subscribed', call: 2, next: 1, evidence });
    fake.core.close = () => {
      const failed = { code: 'CLOSED', message: 'closed', outcome: 'unknown' } as const;
      fake.core.effects.push({ type: 'failed', call: 1, ...failed, evidence });
    };
    await client.close();
    await client.close();
    await expect(call).rejects.toMatchObject({ code: 'CLOSED', outcome: 'unknown' });
    expect(await subscription.closed).toBeUndefined();
    expect(FakeSocket.all.every(({ closed }) => closed)).toBe(true);
    expect(fake.core.freed).toBe(true);
    expect(vi.getTimerCount()).toBe(0);
    expect(client.status).toMatchObject({ phase: 'closed', connected: 0, pending: 0 });
    await expect(client.invoke('get', { key: 'a' })).rejects.toMatchObject({ code: 'CLOSED' });
    await expect(client.connect()).rejects.toMatchObject({ code: 'CLOSED' });
  });

  it('may come from a listener, in the middle of everything', async () => {
    const client = await started();
    client.on('suspect', () => client.close());
    effects({ type: 'suspect', replica: 13, reason: 'divergent' }, { type: 'status' });
    await vi.advanceTimersByTimeAsync(0);
    expect(fake.core.freed).toBe(true);
    expect(client.status.phase).toBe('closed');
  });

  it('may come while the core is being loaded', async () => {
    const client = make();
    const connected = expect(client.connect()).rejects.toMatchObject({ code: 'CLOSED' });
    await client.close();
    await vi.advanceTimersByTimeAsync(0);
    await connected;
    expect(fake.made).toEqual([]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('is a crash of the Wasm, which everybody is told', async () => {
    const client = await started();
    const call = client.invoke('get', { key: 'a' });
    const subscription = client.invokeSubscribe('kv');
    fake.core.failure = new WebAssembly.RuntimeError('unreachable');
    FakeSocket.all[0]?.onmessage?.({ data: new ArrayBuffer(1) });
    const crash = {
      code: 'WASM_CRASH',
      message: 'the WebBFT Wasm crashed: panicked at the test; make a new client',
      outcome: 'unknown',
    };
    await expect(call).rejects.toMatchObject(crash);
    expect(await subscription.closed).toMatchObject(crash);
    await expect(client.invoke('get', { key: 'a' })).rejects.toMatchObject(crash);
    expect(client.status.phase).toBe('closed');
    expect(fake.core.freed).toBe(false);
  });
});

describe('WebBftError.is', () => {
  it('tells codes apart', () => {
    const error = new WebBftError('TIMEOUT', 'late');
    expect(WebBftError.is(error)).toBe(true);
    expect(WebBftError.is(error, 'TIMEOUT')).toBe(true);
    expect(WebBftError.is(error, 'CLOSED')).toBe(false);
    expect(WebBftError.is(new Error('TIMEOUT'))).toBe(false);
  });
});
