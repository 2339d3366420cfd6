// Against real daemons: `webbft cluster --service kv`, one of whose replicas lies.
import { type ChildProcess, spawn } from 'node:child_process';
import { setMaxListeners } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { WebSocket } from 'ws';
import type { Kv } from '../../../examples/typescript/kv.js';
import { proxied } from '../../../tests/browser/lib/proxy.mjs';
import {
  type Client,
  type Codecs,
  createClient,
  json,
  type Member,
  type Message,
  type Service,
  type View,
} from '../src/index.js';

const LIAR = 3;
const START_MS = 60_000;
/** As many topics one session may have: `subscriptions` of protocol/src/execution/executor.rs. */
const MAX_SUBSCRIPTIONS = 64;
/** `webbft cluster` uses ports from this distance above the clients' for the replicas' own links. */
const PEER_PORTS = 100;

let directory: string;
let cluster: ChildProcess;
let output = '';
let view: View;

/** A port such that it and the next three are free, and those of the replicas' links. */
async function freePorts(): Promise<number> {
  for (let attempt = 0; attempt < 50; attempt++) {
    const base = 20_000 + Math.floor(Math.random() * 10_000);
    const ports = [0, 1, 2, 3].flatMap((id) => [base + id, base + PEER_PORTS + id]);
    const free = await Promise.all(ports.map(isFree));
    if (free.every(Boolean)) return base;
  }
  throw new Error('no free ports were found');
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

beforeAll(async () => {
  const binary = process.env.WEBBFT_BIN;
  if (!binary) {
    throw new Error('WEBBFT_BIN must name the webbft binary: cargo build -p webbft-replica');
  }
  directory = await mkdtemp(join(tmpdir(), 'webbft-js-'));
  const args = ['--service', 'kv', '--dir', directory, '--base-port', String(await freePorts())];
  cluster = spawn(binary, ['cluster', ...args, '--byzantine', `${LIAR}=lie`], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const keep = (chunk: Buffer) => {
    output += chunk;
  };
  cluster.stdout?.on('data', keep);
  cluster.stderr?.on('data', keep);
  const failed = new Promise<never>((_, reject) => {
    cluster.once('error', reject);
    cluster.once('exit', (code) => reject(new Error(`webbft ended with ${code}: ${output}`)));
  });
  const serving = vi.waitFor(() => readFile(join(directory, 'cluster.json'), 'utf8'), {
    timeout: START_MS,
    interval: 50,
  });
  const { view: path } = JSON.parse(await Promise.race([serving, failed]));
  view = JSON.parse(await readFile(path, 'utf8'));
}, START_MS);

afterAll(async () => {
  if (cluster && cluster.exitCode === null) {
    const ended = new Promise((resolve) => cluster.once('exit', resolve));
    cluster.kill('SIGTERM');
    await ended;
  }
  if (directory) await rm(directory, { recursive: true });
}, START_MS);

const carried = ({ status }: Client<Kv>) => status.replicas.map(({ transport }) => transport);

describe.each([{ transport: 'websocket' as const }, { transport: 'http' as const }])(
  'a cluster with a liar, over $transport',
  { timeout: START_MS },
  ({ transport }) => {
    const key = `a key over ${transport}`;

    async function connected(): Promise<Client<Kv>> {
      const client = createClient<Kv>({ view, WebSocket, transport });
      await client.connect({ wait: 'all', timeoutMs: START_MS });
      expect(carried(client)).toEqual(Array(4).fill(transport));
      return client;
    }

    it('gives the honest replicas’ answers, and the liar is suspected', async () => {
      const client = await connected();
      expect(client.status).toMatchObject({ phase: 'ready', n: 4, f: 1, connected: 4, needed: 3 });

      const put = await client.invoke('put', { key, value: '1' }).verified();
      expect(put.value).toEqual({ previous: null });
      expect(put.evidence.matching).toEqual([0, 1, 2]);
      expect(put.evidence.order).toBeGreaterThan(0n);
      const get = await client.invokeUnordered('get', { key }).verified();
      expect(get.value).toEqual({ value: '1' });
      expect(get.evidence.matching).not.toContain(LIAR);

      await vi.waitFor(
        () => expect(client.status.replicas[LIAR]?.suspect?.reason).toBe('divergent'),
        { timeout: START_MS },
      );
      const honest = client.status.replicas.filter(({ id }) => id !== LIAR);
      expect(honest.map(({ suspect }) => suspect)).toEqual([undefined, undefined, undefined]);
      await client.close();
    });

    it('rejects with the service’s own error', async () => {
      const client = await connected();
      const refused = client.invoke('put', { key: 'k'.repeat(257), value: '' });
      await expect(refused).rejects.toMatchObject({ name: 'WebBftError' });
      const list = await client.invokeUnordered('list', { prefix: 'k' });
      expect(list.entries).toEqual([]);
      await client.close();
    });

    it('delivers the events of another client in order, none of them a lie', async () => {
      const [writer, reader] = await Promise.all([connected(), connected()]);
      const messages: Message<Kv['events']['kv']>[] = [];
      const subscription = reader.invokeSubscribe('kv', (message) => messages.push(message));
      await subscription.ready;
      const values = Array.from({ length: 20 }, (_, index) => `${index}`);
      await Promise.all(values.map((value) => writer.invoke('put', { key, value })));
      await vi.waitFor(() => expect(messages.length).toBe(20), { timeout: START_MS });
      expect(messages.map(({ value }) => value)).toEqual(values.map((value) => ({ key, value })));
      const first = messages[0]?.number ?? 0n;
      expect(messages.map(({ number }) => number)).toEqual(
        values.map((_, index) => first + BigInt(index)),
      );
      expect(messages.every(({ gapBefore }) => !gapBefore)).toBe(true);
      await subscription.unsubscribe();
      await writer.invoke('put', { key, value: 'unheard' });
      await reader.invokeUnordered('get', { key });
      expect(messages.length).toBe(20);
      await Promise.all([writer.close(), reader.close()]);
      expect(reader.status.phase).toBe('closed');
    });
  },
);

describe('links on HTTP', { timeout: START_MS }, () => {
  it('carry large values both ways, and end with their client', async () => {
    const client = createClient<Kv>({ view, transport: 'http' });
    await client.connect({ wait: 'all', timeoutMs: START_MS });
    const keys = Array.from({ length: 8 }, (_, index) => `large ${index}`);
    const value = 'ü'.repeat(30_000);
    await Promise.all(keys.map((key) => client.invoke('put', { key, value })));
    const got = await Promise.all(keys.map((key) => client.invokeUnordered('get', { key })));
    expect(got).toEqual(keys.map(() => ({ value })));

    const links = async () => {
      const counts = view.members.map(async ({ url }) => {
        const status = new URL(url.replace(/^ws/, 'http').replace(/ws$/, 'status.json'));
        return (await (await fetch(status)).json()).clientLinks;
      });
      return await Promise.all(counts);
    };
    const all = (http: number) => Array(4).fill({ webSocket: 0, http });
    const bound = { timeout: START_MS, interval: 100 };
    await vi.waitFor(async () => expect(await links()).toEqual(all(1)), bound);
    await client.close();
    await vi.waitFor(async () => expect(await links()).toEqual(all(0)), bound);
  });
});

describe('the transport auto', { timeout: START_MS }, () => {
  it('goes over to HTTP where WebSockets are refused', async () => {
    const proxies = await proxied(view, { webSockets: false });
    const client = createClient<Kv>({ view: proxies.view, WebSocket });
    await client.connect({ wait: 'all', timeoutMs: START_MS });
    expect(carried(client)).toEqual(Array(4).fill('http'));
    expect(proxies.refused()).toEqual([2, 2, 2, 2]);
    const key = 'through a proxy';
    await client.invoke('put', { key, value: '1' });
    expect(await client.invokeUnordered('get', { key })).toEqual({ value: '1' });
    await client.close();
    await proxies.close();
  });

  it('stays with HTTP where there is no WebSocket at all', async () => {
    vi.stubGlobal('WebSocket', undefined);
    vi.doMock('ws', () => ({ WebSocket: undefined }));
    const client = createClient<Kv>({ view });
    await client.connect({ timeoutMs: START_MS });
    vi.doUnmock('ws');
    vi.unstubAllGlobals();
    expect(new Set(carried(client))).toEqual(new Set(['http']));
    await client.close();
  });
});

describe('an abort', { timeout: START_MS }, () => {
  it('of subscriptions on their way leaves none with the replicas', async () => {
    const client = createClient<Service>({ view, WebSocket, transport: 'websocket' });
    await client.connect({ wait: 'all', timeoutMs: START_MS });
    const topics = (from: string) =>
      Array.from({ length: MAX_SUBSCRIPTIONS }, (_, index) => `${from} ${index}`);
    const controller = new AbortController();
    const { signal } = controller;
    // Node warns of more than ten.
    setMaxListeners(MAX_SUBSCRIPTIONS, signal);
    const aborted = topics('aborted').map((topic) =>
      client.invokeSubscribe(topic, undefined, { signal }),
    );
    controller.abort('enough');
    for (const subscription of aborted) {
      await expect(subscription.ready).rejects.toMatchObject({
        code: 'ABORTED',
        outcome: 'unknown',
        cause: 'enough',
      });
    }
    const late = client.invokeSubscribe('late', undefined, { signal });
    await expect(late.ready).rejects.toMatchObject({ code: 'ABORTED', outcome: 'not-sent' });
    // The replicas are told by and by, and have room for as many again.
    const later = new AbortController();
    setMaxListeners(MAX_SUBSCRIPTIONS, later.signal);
    const all = async () => {
      const wanted = topics('wanted').map((topic) =>
        client.invokeSubscribe(topic, undefined, { signal: later.signal }),
      );
      try {
        await Promise.all(wanted.map(({ ready }) => ready));
        return wanted;
      } catch (error) {
        await Promise.all(wanted.map((subscription) => subscription.unsubscribe()));
        throw error;
      }
    };
    const wanted = await vi.waitFor(all, { timeout: START_MS });
    const beyond = client.invokeSubscribe('one too many');
    await expect(beyond.ready).rejects.toMatchObject({ code: 'REFUSED' });
    later.abort();
    expect(await wanted[0]?.closed).toMatchObject({ code: 'ABORTED', outcome: 'executed' });
    await client.close();
  });
});

describe('bad input', { timeout: START_MS }, () => {
  /** The view with other keys. */
  const keys = (of: (position: number, member: Member) => string): Partial<View> => ({
    members: view.members.map((member, position) => ({
      ...member,
      noiseKey: of(position, member),
    })),
  });

  it.each<[string, () => Partial<View>, string, RegExp]>([
    [
      'replicas of another service',
      () => ({ service: '07'.repeat(16) }),
      'VIEW',
      /^\d of 4 replicas belong to another service: take the view of yours$/,
    ],
    [
      'a view that is not theirs',
      () => ({ number: 7 }),
      'VIEW',
      /^\d of 4 replicas are in another view: give the current one to updateView\(\)$/,
    ],
    [
      'wrong keys',
      () => keys((position) => view.members[(position + 1) % 4]?.noiseKey ?? ''),
      'AUTH',
      /^\d of 4 replicas do not prove the keys in the view: is it theirs, or somebody in their place\?$/,
    ],
  ])('%s', async (_, change, code, message) => {
    const client = createClient<Kv>({ view: { ...view, ...change() }, WebSocket });
    const connecting = client.connect({ timeoutMs: START_MS });
    // Closed below.
    connecting.catch(() => {});
    const refused = () => client.invoke('get', { key: '' }, { offline: 'fail' });
    await vi.waitFor(() => expect(refused()).rejects.toMatchObject({ code }), {
      timeout: START_MS,
      interval: 50,
    });
    await expect(refused()).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
      outcome: 'not-sent',
      docs: `webbft/docs/errors/${code}.md`,
    });
    await client.close();
    await expect(connecting).rejects.toMatchObject({ code: 'CLOSED' });
  });

  it('one wrong key of four is shown, and is no obstacle', async () => {
    const one = keys((position, { noiseKey }) => (position === 1 ? '2a'.repeat(32) : noiseKey));
    const client = createClient<Kv>({ view: { ...view, ...one }, WebSocket });
    await client.connect({ timeoutMs: START_MS });
    await vi.waitFor(
      () =>
        expect(client.status.replicas[1]).toMatchObject({
          refusal: 'key',
          refused: 'the handshake failed: the client expects another key for this replica',
        }),
      { timeout: START_MS },
    );
    expect(client.status.phase).toBe('degraded');
    await client.close();
  });

  it('results and events that cannot be decoded, and calls after close', async () => {
    const decode = () => {
      throw new TypeError('no such shape');
    };
    const request = json<Kv['ops']['put']['req']>();
    const encode = (req: Kv['ops']['put']['req']) =>
      new TextEncoder().encode(JSON.stringify({ ...req, op: 'put' }));
    const codecs: Codecs<Kv> = {
      ops: { put: { req: { ...request, encode }, res: { ...json(), decode } } },
      events: { kv: { ...json(), decode } },
    };
    const client = createClient<Kv>({ view, WebSocket, codecs });
    await client.connect({ timeoutMs: START_MS });
    const subscription = client.invokeSubscribe('kv');
    await subscription.ready;
    const undecodable = {
      code: 'DECODE',
      message: 'the agreed bytes are not what their codec wants: TypeError: no such shape',
      outcome: 'executed',
      quorum: { matching: expect.any(Array) },
    };
    const call = client.invoke('put', { key: 'codec', value: '1' });
    await expect(call).rejects.toMatchObject(undecodable);
    expect(await subscription.closed).toMatchObject({ ...undecodable });
    expect(await client.invokeUnordered('get', { key: 'codec' })).toEqual({ value: '1' });
    await client.close();
    const closed = { code: 'CLOSED', outcome: 'not-sent', message: 'the client is closed' };
    await expect(client.invoke('get', { key: '' })).rejects.toMatchObject(closed);
    await expect(client.invokeUnordered('get', { key: '' })).rejects.toMatchObject(closed);
    await expect(client.connect()).rejects.toMatchObject(closed);
    const { message: _, ...ended } = closed;
    await expect(client.invokeSubscribe('kv').ready).rejects.toMatchObject(ended);
    expect(() => client.updateView(view)).toThrow('the client is closed');
  });
});
