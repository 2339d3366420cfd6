import type { Emitter } from './emitter.js';
import { WebBftError } from './errors.js';
import type { Phase, Status, View } from './types.js';

/** What `connect` waits for. */
export type Wait = 'quorum' | 'all';

/** The status where there is no core to ask. */
export function coreless(phase: Phase, view: View | undefined, pending: number): Status {
  const members = view?.members ?? [];
  const state = 'closed';
  return {
    phase,
    viewId: view?.number ?? 0,
    n: members.length,
    f: view?.f ?? 0,
    connected: 0,
    needed: 0,
    pending,
    replicas: members.map(({ id, url }) => ({ id, url, state })),
  };
}

/** Is a quorum of replicas connected? */
export function quorate({ phase }: Status): boolean {
  return phase === 'ready' || phase === 'degraded';
}

/** There is no quorum, and the caller would not wait for one. */
export function offline({ connected, needed }: Status): WebBftError {
  const message = `no quorum: ${connected} of the ${needed} replicas needed are connected`;
  return new WebBftError('OFFLINE', message);
}

function unreachable(status: Status, wait: Wait, timeoutMs: number): WebBftError {
  const { connected, n, needed, replicas } = status;
  const rest = replicas.filter(({ state }) => state !== 'open');
  const names = rest.map(({ url, refused }) => (refused ? `${url} (${refused})` : url));
  const wanted = wait === 'all' ? n : needed;
  return new WebBftError(
    connected === 0 ? 'OFFLINE' : 'NO_QUORUM',
    `${connected} of ${wanted} replicas connected within ${timeoutMs} ms` +
      (names.length > 0 ? `; not connected: ${names.join(', ')}` : ''),
  );
}

/** What waiting for replicas takes. */
export interface Waiting {
  readonly wait: Wait;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  /** Rejects where the client cannot start. */
  readonly started: Promise<void>;
  readonly emitter: Emitter;
  /** The latest status; throws once the client is closed. */
  status(): Status;
}

/** Waits until enough replicas are connected. */
export function connected(waiting: Waiting): Promise<void> {
  const { wait, timeoutMs, signal, started, emitter } = waiting;
  return new Promise((resolve, reject) => {
    const check = () => {
      try {
        const status = waiting.status();
        if (status.phase === 'ready' || (quorate(status) && wait === 'quorum')) done();
      } catch (error) {
        done(error as Error);
      }
    };
    const abort = () => done(connectAborted(signal));
    const off = emitter.on('status', check);
    const expire = () => done(unreachable(waiting.status(), wait, timeoutMs));
    const timer = setTimeout(expire, timeoutMs);
    const done = (error?: Error) => {
      off();
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
      if (error) reject(error);
      else resolve();
    };
    signal?.addEventListener('abort', abort);
    started.then(check, done);
  });
}

export function connectAborted(signal: AbortSignal | undefined): WebBftError {
  return new WebBftError('ABORTED', 'connect was aborted', { cause: signal?.reason });
}
