// The real Wasm, without replicas: what crosses the boundary, and what is refused at it.
import { afterEach, describe, expect, it, vi } from 'vitest';
import { WebBftClient } from '../src/client.js';
import { createClient, type Options, preload, type Service, type View } from '../src/index.js';
import { instantiate } from '../src/instance.js';
import { FakeSocket } from './fakes.js';

const key = (byte: number) => byte.toString(16).padStart(2, '0').repeat(32);

const view: View = {
  service: '07'.repeat(16),
  number: 0,
  f: 1,
  members: [0, 1, 2, 3].map((id) => ({
    id,
    url: `ws://127.0.0.1:${7000 + id}/ws`,
    peerAddress: `127.0.0.1:${8000 + id}`,
    publicKey: key(10 + id),
    noiseKey: key(20 + id),
  })),
};

const member = view.members[1] as View['members'][number];

/** The view with its second member changed. */
function withMember(change: object): View {
  return { ...view, members: view.members.map((it) => (it.id === 1 ? { ...it, ...change } : it)) };
}

afterEach(() => {
  FakeSocket.all = [];
});

async function refusal(options: Partial<Options>): Promise<string> {
  const client = createClient({ view, WebSocket: FakeSocket, ...options });
  const error = await client.connect({ timeoutMs: 5_000 }).then(
    () => undefined,
    (error: { code: string; message: string }) => error,
  );
  await client.close();
  return `${error?.code}: ${error?.message}`;
}

describe('the boundary', () => {
  it('is given by preload, once', async () => {
    await preload();
    expect(await preload()).toBe(await preload());
  });

  it('derives the client id from the key and speaks first on every socket', async () => {
    const identity = new Uint8Array(32).fill(1);
    const client = createClient({ view, WebSocket: FakeSocket, identity });
    client.connect().catch(() => {});
    await vi.waitFor(() => expect(FakeSocket.all.length).toBe(4));
    expect(client.clientId).toMatch(/^[0-9a-f]{32}$/);
    expect(client.status).toEqual({
      phase: 'connecting',
      viewId: 0,
      n: 4,
      f: 1,
      connected: 0,
      needed: 3,
      pending: 0,
      replicas: view.members.map(({ id, url }) => ({
        id,
        url,
        state: 'connecting',
        transport: 'websocket',
      })),
    });
    for (const socket of FakeSocket.all) socket.onopen?.();
    // ClientHello: version, service, view, and 96 bytes of Noise with their length.
    for (const { sent } of FakeSocket.all) {
      expect(sent.map((bytes) => bytes.length)).toEqual([1 + 16 + 1 + 1 + 96]);
      expect(sent[0]?.slice(0, 19)).toEqual([1, ...Array(16).fill(7), 0, 96]);
    }
    const again = createClient({ view, WebSocket: FakeSocket, identity });
    again.connect().catch(() => {});
    await vi.waitFor(() => expect(again.clientId).toBe(client.clientId));
    await Promise.all([client.close(), again.close()]);
  });

  it('suspects who is not the replica of the view', async () => {
    const client = createClient({ view, WebSocket: FakeSocket });
    const suspects: unknown[] = [];
    client.on('suspect', (event) => suspects.push(event));
    client.connect().catch(() => {});
    await vi.waitFor(() => expect(FakeSocket.all.length).toBe(4));
    FakeSocket.all[2]?.onopen?.();
    FakeSocket.all[2]?.onmessage?.({ data: new Uint8Array([9]).buffer });
    expect(suspects).toEqual([{ type: 'suspect', replica: 2, reason: 'protocol' }]);
    expect(client.status.replicas[2]).toMatchObject({
      state: 'waiting',
      suspect: { reason: 'protocol', count: 1 },
    });
    const { retryAt = 0, suspect } = client.status.replicas[2] ?? {};
    expect(Math.abs(retryAt - Date.now())).toBeLessThan(2000);
    expect(Math.abs((suspect?.last ?? 0) - Date.now())).toBeLessThan(2000);
    await client.close();
  });

  it('shows why a replica refuses a link', async () => {
    const client = createClient({ view, WebSocket: FakeSocket });
    const connected = client.connect({ timeoutMs: 300 });
    const failure = expect(connected).rejects.toMatchObject({
      code: 'OFFLINE',
      message: expect.stringContaining('7003/ws (the replica is in view 5)'),
    });
    await vi.waitFor(() => expect(FakeSocket.all.length).toBe(4));
    FakeSocket.all[3]?.onopen?.();
    // ServerHello::Refused(HelloRefusal::View(5)).
    FakeSocket.all[3]?.onmessage?.({ data: new Uint8Array([1, 2, 5]).buffer });
    expect(client.status.replicas[3]).toMatchObject({
      refused: 'the replica is in view 5',
      refusal: 'view',
    });
    await failure;
    await client.close();
  });
});

describe('refusals name what is wrong', () => {
  const cases: [string, Partial<Options>][] = [
    ['VIEW: view must be an object', { view: 'view.json' as never }],
    ['VIEW: view.members must be an object', { view: { ...view, members: undefined } as never }],
    ['VIEW: view.f is missing', { view: { ...view, f: undefined } as never }],
    [
      'VIEW: view.number must be a whole number, not below 0 and not too large',
      { view: { ...view, number: 0.5 } },
    ],
    ['VIEW: view.service is 1 bytes where 16 are wanted', { view: { ...view, service: '07' } }],
    [
      'VIEW: view.mac must be "hmac-sha256" or "hmac-sha1"',
      { view: { ...view, mac: 'md5' as never } },
    ],
    ['VIEW: a member of the view.url is missing', { view: withMember({ url: undefined }) }],
    ['VIEW: a member of the view.url must be a string', { view: withMember({ url: 7 }) }],
    [
      'VIEW: member 1: url "http://x" must begin with ws:// or wss://',
      { view: withMember({ url: 'http://x' }) },
    ],
    [
      'VIEW: 4 replicas cannot tolerate 2 faulty ones: at least 7 are needed',
      { view: { ...view, f: 2 } },
    ],
    ['VIEW: a view needs at least one replica', { view: { ...view, members: [] } }],
    [
      'VIEW: 65 members; at most 64 are supported',
      { view: { ...view, members: Array(100).fill(member) } },
    ],
    ['INPUT: secret must have 32 bytes', { identity: new Uint8Array(31) }],
    ['INPUT: options.callTimeout must be 1 to 86400000 milliseconds', { timeoutMs: 0 }],
    [
      'INPUT: options.maxPending must be a whole number, not below 0 and not too large',
      { maxQueue: 1e9 },
    ],
  ];
  it.each(cases)('%s', async (expected, options) => {
    expect(await refusal(options)).toBe(expected);
  });

  it('calls and topics', async () => {
    const client = createClient({ view, WebSocket: FakeSocket });
    client.connect().catch(() => {});
    await vi.waitFor(() => expect(FakeSocket.all.length).toBe(4));
    const large = client.invoke('put', { value: 'x'.repeat(1 << 20) });
    await expect(large).rejects.toMatchObject({
      code: 'INPUT',
      message: expect.stringMatching(/^the payload has 10\d+ bytes; at most 1048576 are allowed$/),
    });
    await expect(client.invokeSubscribe('').ready).rejects.toMatchObject({
      code: 'INPUT',
      message: "a topic's name has 1 to 128 bytes; this one has 0",
    });
    await client.close();
  });
});

describe('a crash of the Wasm', () => {
  /** An instance whose memory the test can damage. */
  async function damageable() {
    const { module, memory } = await withMemory();
    const client = new WebBftClient<Service>({ view, WebSocket: FakeSocket }, async () => module);
    client.connect().catch(() => {});
    await vi.waitFor(() => expect(FakeSocket.all.length).toBe(4));
    return { client, memory };
  }

  /** The real Wasm, instantiated as for any client, and the memory it works in. */
  async function withMemory() {
    const compiled = await preload();
    const { instantiate: original } = WebAssembly;
    let memory: WebAssembly.Memory | undefined;
    const spy = vi.spyOn(WebAssembly, 'instantiate').mockImplementation((async (
      ...args: [WebAssembly.Module, WebAssembly.Imports]
    ) => {
      const instance = await original(...args);
      memory = instance.exports.memory as WebAssembly.Memory;
      return instance;
    }) as never);
    const module = await instantiate(compiled);
    spy.mockRestore();
    if (!memory) throw new Error('the Wasm has no memory');
    return { module, memory };
  }

  it('ends its own client only, and a new one works in the same page', async () => {
    const { client, memory } = await damageable();
    const bystander = createClient({ view, WebSocket: FakeSocket });
    bystander.connect().catch(() => {});
    await vi.waitFor(() => expect(FakeSocket.all.length).toBe(8));
    const call = client.invoke('get', { key: 'a' });
    const subscription = client.invokeSubscribe('kv');

    // All of the stack and the heap, so that whatever the core reads next makes no sense.
    new Uint8Array(memory.buffer).fill(0xff);
    FakeSocket.all[0]?.onopen?.();
    FakeSocket.all[0]?.onmessage?.({ data: new ArrayBuffer(8) });
    const crash = { code: 'WASM_CRASH', outcome: 'unknown', retryable: false };
    await expect(call).rejects.toMatchObject(crash);
    expect(await subscription.closed).toMatchObject(crash);
    await expect(client.connect()).rejects.toMatchObject(crash);
    expect(client.status.phase).toBe('closed');

    expect(bystander.status.phase).toBe('connecting');
    const again = createClient({ view, WebSocket: FakeSocket });
    again.connect().catch(() => {});
    await vi.waitFor(() => expect(FakeSocket.all.length).toBe(12));
    for (const socket of FakeSocket.all.slice(4)) {
      socket.onopen?.();
      expect(socket.sent.length).toBe(1);
    }
    await Promise.all([client.close(), bystander.close(), again.close()]);
  });
});

describe('the Wasm cannot be had', () => {
  const serve = (body: string, init: ResponseInit) => new Response(body, init);

  it.each([
    [
      'HTML',
      () => serve('<!DOCTYPE html>', { headers: { 'content-type': 'text/html' } }),
      'is a page of HTML',
    ],
    ['404', () => serve('', { status: 404 }), '404'],
    ['other bytes', () => new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]), 'magic'],
    [
      'HTML called Wasm',
      () => serve('<!DOCTYPE html>', { headers: { 'content-type': 'application/wasm' } }),
      'magic',
    ],
  ])('%s', async (_, source, text) => {
    const client = createClient({ view, WebSocket: FakeSocket, wasm: source() });
    await expect(client.connect()).rejects.toMatchObject({
      code: 'WASM_LOAD',
      outcome: 'not-sent',
      message: expect.stringContaining(text),
    });
  });

  it('where WebAssembly is turned off', async () => {
    vi.stubGlobal('WebAssembly', undefined);
    const client = createClient({ view, WebSocket: FakeSocket, wasm: new Uint8Array(1) });
    const failure = await client.connect().catch((error: unknown) => error);
    vi.unstubAllGlobals();
    expect(failure).toMatchObject({ code: 'WASM_UNAVAILABLE', outcome: 'not-sent' });
  });
});
