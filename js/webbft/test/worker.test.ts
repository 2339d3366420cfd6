// The page's side of `webbft/worker`, against a worker that the test plays.

import { describe, expect, it, vi } from 'vitest';
import type { Codec } from '../src/codec.js';
import type { ClientEvent, Service, View } from '../src/index.js';
import { createClient, type WorkerOptions } from '../src/worker.js';
import type { FromWorker, ToWorker } from '../src/worker-messages.js';

const view: View = { service: '07'.repeat(16), number: 0, f: 0, members: [] };
const votes = { needed: 3, matching: [0, 1, 2], differing: [3], silent: [] };
const evidence = { ...votes, viewId: 0, order: 7n };

class FakeWorker {
  readonly posted: ToWorker[] = [];
  terminated = false;
  readonly #listeners = new Map<string, (event: never) => void>();

  postMessage(message: ToWorker): void {
    // As a real worker gets it.
    this.posted.push(structuredClone(message));
  }

  addEventListener(type: string, listener: unknown): void {
    this.#listeners.set(type, listener as (event: never) => void);
  }

  terminate(): void {
    this.terminated = true;
  }

  says(message: FromWorker): void {
    this.#listeners.get('message')?.({ data: structuredClone(message) } as never);
  }

  fails(message: string): void {
    this.#listeners.get('error')?.({ message, preventDefault: () => {} } as never);
  }

  /** The id of the last call or subscription. */
  get id(): string {
    const last = this.posted.at(-1);
    return last && 'id' in last ? last.id : '';
  }
}

function started(options: Partial<WorkerOptions> = {}) {
  const workers: FakeWorker[] = [];
  const worker = () => {
    workers.push(new FakeWorker());
    return workers.at(-1) as unknown as Worker;
  };
  const client = createClient<Service>({ view, worker, ...options });
  const current = () => workers.at(-1) as FakeWorker;
  return { client, workers, current };
}

describe('a client in a worker', () => {
  it('makes the worker with the first call, and gives what it answers', async () => {
    const { client, workers, current } = started({ timeoutMs: 5_000, wasm: 'https://a.test/b' });
    expect([workers.length, client.status.phase]).toEqual([0, 'idle']);
    const call = client.invoke('put', { at: new Date(0), nothing: undefined });
    expect(current().posted).toEqual([
      {
        type: 'create',
        options: {
          timeoutMs: 5_000,
          view,
          wasm: 'https://a.test/b',
          log: false,
          coded: { ops: [], events: [] },
        },
      },
      {
        type: 'call',
        id: '1',
        kind: 'invoke',
        op: 'put',
        req: { at: '1970-01-01T00:00:00.000Z' },
        options: {},
      },
    ]);
    current().says({ type: 'done', id: '1', value: { ok: true }, evidence });
    expect(await call).toEqual({ ok: true });
    expect(await call.verified()).toEqual({ value: { ok: true }, evidence });
  });

  it('rejects with the worker’s error, whole', async () => {
    const { client, current } = started();
    const call = client.invokeUnordered('get', {});
    const error = {
      code: 'SERVICE',
      message: 'the service answers: no',
      outcome: 'executed',
      quorum: votes,
      detail: { value: { reason: 'no' } },
      cause: undefined,
    } as const;
    current().says({ type: 'failed', id: current().id, error });
    await expect(call).rejects.toMatchObject({
      name: 'WebBftError',
      code: 'SERVICE',
      outcome: 'executed',
      retryable: false,
      quorum: votes,
      detail: { reason: 'no' },
    });
  });

  it('tells the worker of an abort, and rejects with the signal’s reason', async () => {
    const { client, current } = started();
    const controller = new AbortController();
    const call = client.invoke('put', {}, { signal: controller.signal });
    const { id } = current();
    const reason = { by: 'the user' };
    controller.abort(reason);
    expect(current().posted.at(-1)).toEqual({ type: 'abort', id });
    const error = {
      code: 'ABORTED',
      message: 'the call was aborted',
      outcome: 'unknown',
      quorum: undefined,
      cause: 'lost on the way',
    } as const;
    current().says({ type: 'failed', id, error });
    await expect(call).rejects.toMatchObject({ code: 'ABORTED', outcome: 'unknown' });
    expect(await call.catch((error) => error.cause)).toBe(reason);
    const count = current().posted.length;
    const before = client.invoke('put', {}, { signal: controller.signal });
    await expect(before).rejects.toMatchObject({ code: 'ABORTED', outcome: 'not-sent' });
    expect(current().posted.length).toBe(count);
  });

  it('gives events to listeners and iterators, gaps included, until the worker ends them', async () => {
    const { client, current } = started();
    const subscription = client.invokeSubscribe('kv');
    const { id } = current();
    current().says({ type: 'done', id });
    await subscription.ready;
    const message = { value: 1, number: 5n, evidence, gapBefore: false };
    current().says({ type: 'message', id, topic: 'kv', message });
    current().says({ type: 'message', id, topic: 'kv', message: { ...message, gapBefore: true } });
    current().says({ type: 'ended', id, error: undefined });
    const taken = [];
    for await (const each of subscription) taken.push(each);
    expect(taken).toEqual([message, { ...message, gapBefore: true }]);
    expect(await subscription.closed).toBeUndefined();
  });

  it('encodes and decodes on the page what has a codec', async () => {
    const text: Codec<string> = {
      encode: (value) => new TextEncoder().encode(value),
      decode: (value) => new TextDecoder().decode(value),
    };
    const codecs = { ops: { put: { req: text, res: text } }, events: { kv: text } };
    const { client, current } = started({ codecs });
    const call = client.invoke('put', 'A');
    const [created, called] = current().posted;
    expect(created).toMatchObject({ options: { coded: { ops: ['put'], events: ['kv'] } } });
    expect(called).toMatchObject({ op: 'put', req: new Uint8Array([65]) });
    current().says({ type: 'done', id: current().id, value: new Uint8Array([66]), evidence });
    expect(await call).toBe('B');
    const heard: unknown[] = [];
    client.invokeSubscribe('kv', ({ value }) => heard.push(value));
    const message = { value: new Uint8Array([67]), number: 5n, evidence, gapBefore: false };
    current().says({ type: 'message', id: current().id, topic: 'kv', message });
    expect(heard).toEqual(['C']);
  });

  it('unsubscribes in the worker', async () => {
    const { client, current } = started();
    const subscription = client.invokeSubscribe('kv', () => {});
    const { id } = current();
    current().says({ type: 'done', id });
    const left = subscription.unsubscribe();
    const last = current().posted.at(-1);
    expect(last).toEqual({ type: 'unsubscribe', id: current().id, subscription: id });
    current().says({ type: 'done', id: current().id });
    await left;
  });

  it('answers when the worker needs the view', async () => {
    const get = vi.fn(() => Promise.resolve(view));
    const { client, current } = started({ view: get });
    client.connect().catch(() => {});
    expect(current().posted[0]).toMatchObject({ options: { view: 'ask' } });
    current().says({ type: 'ask', what: 'view' });
    await vi.waitFor(() =>
      expect(current().posted.at(-1)).toEqual({ type: 'answer', answer: { what: 'view', view } }),
    );
    get.mockRejectedValueOnce(new Error('away'));
    current().says({ type: 'ask', what: 'view' });
    await vi.waitFor(() =>
      expect(current().posted.at(-1)).toMatchObject({
        answer: { error: { code: 'VIEW', message: 'the view could not be got: Error: away' } },
      }),
    );
    const closed = client.close();
    current().says({ type: 'closed' });
    await closed;
  });

  it('fails with WASM_LOAD where the worker cannot start, and the next call makes another', async () => {
    const { client, workers, current } = started();
    const call = client.invoke('put', {});
    const [first] = workers;
    current().fails('its script could not be loaded');
    await expect(call).rejects.toMatchObject({
      code: 'WASM_LOAD',
      message: 'the worker could not be started: its script could not be loaded',
    });
    expect(first?.terminated).toBe(true);
    client.invoke('put', {}).catch(() => {});
    expect(workers.length).toBe(2);
  });

  it('shows the status and tells the events of the client in the worker', async () => {
    const { client, current } = started();
    const events: ClientEvent[] = [];
    client.on('suspect', (event) => events.push(event));
    client.connect().catch(() => {});
    const status = { ...client.status, phase: 'ready' } as const;
    current().says({ type: 'status', status, clientId: 'ab' });
    expect([client.status, client.clientId]).toEqual([status, 'ab']);
    const suspect = { type: 'suspect', replica: 3, reason: 'divergent', call: '1' } as const;
    current().says({ type: 'event', event: suspect });
    expect(events).toEqual([suspect]);
    client.reconnectNow();
    expect(current().posted.at(-1)).toEqual({ type: 'network', cause: 'manual' });
  });

  it('closes the client in the worker, then the worker; what is unfinished rejects', async () => {
    const { client, current } = started();
    const call = client.invoke('put', {});
    const closed = client.close();
    expect(current().posted.at(-1)).toEqual({ type: 'close' });
    current().says({ type: 'closed' });
    await closed;
    expect([current().terminated, client.status.phase]).toEqual([true, 'closed']);
    await expect(call).rejects.toMatchObject({ code: 'CLOSED' });
    await expect(client.invoke('put', {})).rejects.toMatchObject({ code: 'CLOSED' });
  });

  it('refuses a WebSocket, which cannot be sent', async () => {
    const options = { view, WebSocket: class {} } as unknown as WorkerOptions;
    await expect(createClient(options).connect()).rejects.toMatchObject({ code: 'INPUT' });
  });
});
