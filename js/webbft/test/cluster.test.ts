// Against real daemons: `webbft cluster --service kv`, one of whose replicas lies.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { WebSocket } from 'ws';
import type { Kv } from '../../../examples/typescript/kv.js';
import { type Client, createClient, type Message, type View } from '../src/index.js';
import { HttpSocket } from './http-socket.js';

const LIAR = 3;
const START_MS = 60_000;
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

describe.each([
  { transport: 'WebSockets', WebSocket },
  { transport: 'HTTP', WebSocket: HttpSocket },
])('a cluster with a liar, over $transport', { timeout: START_MS }, ({ transport, WebSocket }) => {
  const key = `a key over ${transport}`;

  async function connected(): Promise<Client<Kv>> {
    const client = createClient<Kv>({ view, WebSocket });
    await client.connect({ wait: 'all', timeoutMs: START_MS });
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
});

describe('links on HTTP', { timeout: START_MS }, () => {
  it('carry large values both ways, and end with their client', async () => {
    const client = createClient<Kv>({ view, WebSocket: HttpSocket });
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
