// A `webbft cluster` of real daemons on free ports, in a temporary directory.

import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from './wait.mjs';

/** How much of the daemons' output an error message shows. */
const LOG_TAIL = 4_000;

const running = new Set();
// Whatever ends this process also ends the daemons; a signal would otherwise skip the exit event.
process.on('exit', () => {
  for (const child of running) child.kill('SIGTERM');
});
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
]) {
  process.once(signal, () => process.exit(code));
}

function named(variable, what) {
  const value = process.env[variable];
  if (!value) throw new Error(`${variable} must name ${what}; \`cargo xtask test\` sets it`);
  return value;
}

function listens(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

/**
 * A base port for `n` replicas: they serve clients on it and the ports after it, and each other
 * 100 ports higher. Below the range from which systems give out ports by themselves.
 */
export async function freeBasePort(n) {
  for (let attempt = 0; attempt < 50; attempt++) {
    const base = 12_000 + Math.floor(Math.random() * 18_000);
    const ports = Array.from({ length: n }, (_, i) => [base + i, base + 100 + i]).flat();
    if ((await Promise.all(ports.map(listens))).every(Boolean)) return base;
  }
  throw new Error('found no free ports between 12000 and 30000');
}

/**
 * Starts four replicas and waits until all serve: by default of the editor, with its page.
 * `byzantine` is `ID=KIND` as `webbft cluster` takes it, or several of them; `page` is a folder of
 * static files; with `restart` a replica that is killed starts again.
 */
export async function startCluster({ byzantine = [], service = 'editor', page, restart } = {}) {
  const binary = named('WEBBFT_BIN', 'the daemon');
  page ??= named('WEBBFT_PAGE', "the page's built files");
  const directory = await mkdtemp(join(tmpdir(), 'webbft-browser-'));
  const description = join(directory, 'cluster', 'cluster.json');
  const args = ['cluster', '--service', service, '--dir', join(directory, 'cluster')];
  args.push('--n', '4', '--f', '1', '--static', page);
  args.push('--base-port', String(await freeBasePort(4)));
  for (const each of [byzantine].flat()) args.push('--byzantine', each);
  if (restart) args.push('--restart');

  let log = '';
  const child = spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  running.add(child);
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      log = (log + text).slice(-LOG_TAIL);
    });
  }
  const ended = new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      running.delete(child);
      resolve(signal ?? code);
    });
  });

  async function stop() {
    if (running.has(child)) {
      child.kill('SIGTERM');
      const outcome = await Promise.race([
        ended,
        until('the cluster stops on SIGTERM', () => !running.has(child), { otherwise: () => log }),
      ]);
      if (outcome !== true && outcome !== 0) {
        throw new Error(`the cluster ended with ${outcome} on SIGTERM; it printed:\n${log}`);
      }
    }
    await rm(directory, { recursive: true, force: true });
  }

  try {
    const text = await until(
      'the replicas serve',
      () => {
        if (running.has(child)) return readFile(description, 'utf8').catch(() => null);
        return ended.then((outcome) => {
          throw new Error(`the cluster ended with ${outcome}; it printed:\n${log}`);
        });
      },
      { limitMs: 30_000, otherwise: () => log },
    );
    return { replicas: JSON.parse(text).replicas, stop, log: () => log };
  } catch (error) {
    await stop().catch(() => {});
    throw error;
  }
}
