import type { Emitter } from './emitter.js';
import { aborted, type ErrorInit, WebBftError } from './errors.js';
import type { Phase, Replica, Status, View } from './types.js';

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

/** The view that the caller gave, or gives now. */
export async function gotView(view: View | (() => Promise<View>)): Promise<View> {
  try {
    return typeof view === 'function' ? await view() : view;
  } catch (cause) {
    throw new WebBftError('VIEW', `the view could not be got: ${cause}`, { cause });
  }
}

/** Is a quorum of replicas connected? */
export function quorate({ phase }: Status): boolean {
  return phase === 'ready' || phase === 'degraded';
}

/** There is no quorum, and the caller would not wait for one. */
export function offline(status: Status): WebBftError {
  const { connected, needed } = status;
  const message = `no quorum: ${connected} of the ${needed} replicas needed are connected`;
  return explained(status) ?? new WebBftError('OFFLINE', message);
}

/** What makes replicas useless to this client, until somebody does something about it. */
const OBSTACLES = {
  view: ['VIEW', 'are in another view: give the current one to updateView()'],
  service: ['VIEW', 'belong to another service: take the view of yours'],
  version: ['PROTOCOL', 'speak another version of the protocol: update this package or them'],
  key: ['AUTH', 'do not prove the keys in the view: is it theirs, or somebody in their place?'],
} as const;

/** The error where waiting for a quorum is in vain; whoever says so may be lying, though. */
export function explained(status: Status, init: ErrorInit = {}): WebBftError | undefined {
  const { replicas, n, needed } = status;
  const found = replicas.flatMap((replica) => obstacle(replica) ?? []);
  const count = (kind: string) => found.filter((other) => other === kind).length;
  const [worst] = [...found].sort((a, b) => count(b) - count(a));
  if (!worst || needed === 0 || n - found.length >= needed) return undefined;
  const [code, text] = OBSTACLES[worst];
  return new WebBftError(code, `${count(worst)} of ${n} replicas ${text}`, init);
}

function obstacle(replica: Replica): keyof typeof OBSTACLES | undefined {
  const { state, refusal, suspect } = replica;
  if (state === 'open') return undefined;
  if (refusal && refusal !== 'busy') return refusal;
  return suspect?.reason === 'bad-auth' ? 'key' : undefined;
}

/** Do enough replicas refuse this view for one of them to be correct? */
export function outdated({ replicas, f }: Status): boolean {
  const refusing = replicas.filter((replica) => {
    const what = obstacle(replica);
    return what === 'view' || what === 'key';
  });
  return refusing.length > f;
}

function unreachable(status: Status, wait: Wait, timeoutMs: number): WebBftError {
  const { connected, n, needed, replicas } = status;
  const rest = replicas.filter(({ state }) => state !== 'open');
  const names = rest.map(({ url, refused }) => (refused ? `${url} (${refused})` : url));
  const wanted = wait === 'all' ? n : needed;
  const message =
    `${connected} of ${wanted} replicas connected within ${timeoutMs} ms` +
    (names.length > 0 ? `; not connected: ${names.join(', ')}` : '');
  const code = connected === 0 ? 'OFFLINE' : 'NO_QUORUM';
  return explained(status) ?? new WebBftError(code, message);
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
  return aborted('connect', signal);
}
