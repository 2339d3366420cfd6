import type { Core, CoreModule, CoreOptions, Effects, Told } from '../src/core.js';
import type { Code, Outcome } from '../src/errors.js';
import type { WebSocketLike } from '../src/transport/websocket.js';
import type { Replica, Status, SuspectReason, View } from '../src/types.js';

/** Votes as a core gives them. */
export interface CoreEvidence {
  readonly viewId: number;
  readonly needed: number;
  readonly matching: readonly number[];
  readonly differing: readonly number[];
  readonly silent: readonly number[];
  readonly cid?: number;
}

/** What a core wants done or told, as the tests write it. Replicas of the first three are positions. */
export type Effect =
  | { readonly type: 'open' | 'close'; readonly replica: number }
  | { readonly type: 'send'; readonly replica: number; readonly bytes: Uint8Array<ArrayBuffer> }
  | {
      readonly type: 'completed';
      readonly call: number;
      readonly result: Uint8Array;
      readonly evidence: CoreEvidence;
    }
  | {
      readonly type: 'failed';
      readonly call: number;
      readonly code: Code;
      readonly message: string;
      readonly outcome: Outcome;
      readonly evidence: CoreEvidence;
    }
  | {
      readonly type: 'votes';
      readonly call: number;
      /** Of an event of the subscription `call`. */
      readonly number?: number;
      readonly evidence: CoreEvidence;
    }
  | {
      readonly type: 'subscribed';
      readonly call: number;
      readonly next: number;
      readonly evidence: CoreEvidence;
    }
  | {
      readonly type: 'event';
      readonly call: number;
      readonly number: number;
      readonly payload: Uint8Array;
      readonly evidence: CoreEvidence;
    }
  | {
      readonly type: 'gap';
      readonly call: number;
      readonly missedFrom: number;
      readonly next: number;
    }
  | {
      readonly type: 'suspect';
      readonly replica: number;
      readonly reason: SuspectReason;
      readonly call?: number;
    }
  | { readonly type: 'status' };

/** The calls of a sink that tell an effect. */
function told(effect: Effect): Told[] {
  const calls: Told[] = [];
  const call = <K extends keyof Effects>(name: K, ...args: Parameters<Effects[K]>) =>
    calls.push([name, args]);
  if ('evidence' in effect) {
    const { viewId, needed, matching, differing, cid } = effect.evidence;
    const vote = (id: number) => (matching.includes(id) ? 1 : differing.includes(id) ? 2 : 0);
    const votes = Uint8Array.from(view.members, ({ id }) => vote(id));
    call('votes', viewId, needed, votes, cid);
  }
  switch (effect.type) {
    case 'open':
    case 'close':
      call(effect.type, effect.replica);
      break;
    case 'send':
      call('send', effect.replica, effect.bytes);
      break;
    case 'completed':
      call('completed', effect.call, effect.result);
      break;
    case 'failed':
      call('failed', effect.call, effect.code, effect.message, effect.outcome);
      break;
    case 'votes':
      call('lateVotes', effect.call, effect.number);
      break;
    case 'subscribed':
      call('subscribed', effect.call, effect.next);
      break;
    case 'event':
      call('event', effect.call, effect.number, effect.payload);
      break;
    case 'gap':
      call('gap', effect.call, effect.missedFrom, effect.next);
      break;
    case 'suspect':
      call('suspect', effect.replica, effect.reason, effect.call);
      break;
    case 'status':
      call('statusChanged');
  }
  return calls;
}

/** A view whose keys are no keys: enough for a core that is played. */
export const view: View = {
  service: '07'.repeat(16),
  number: 0,
  f: 1,
  members: [0, 1, 2, 3].map((id) => ({
    id: id + 10,
    url: `ws://replica-${id}.test/ws`,
    publicKey: '00'.repeat(32),
    noiseKey: '00'.repeat(32),
  })),
};

export const evidence: CoreEvidence = {
  viewId: 0,
  needed: 3,
  matching: [10, 11, 12],
  differing: [13],
  silent: [],
  cid: 7,
};

export const encode = (value: unknown): Uint8Array =>
  new TextEncoder().encode(JSON.stringify(value));

/** A core whose every effect the test scripts; it records what it is told. */
export class FakeCore implements Core {
  readonly clientId = 'ab';
  readonly inputs: unknown[][] = [];
  readonly effects: Effect[] = [];
  freed = false;
  deadline: number | undefined;
  /** Thrown by the next input. */
  failure: unknown;
  phase: Status['phase'] = 'connecting';
  #calls = 0;

  constructor(
    readonly created: {
      view: View;
      secret: Uint8Array;
      seed: Uint8Array;
      options: CoreOptions;
    },
  ) {}

  #input(...input: unknown[]): void {
    if (this.freed) throw new Error('used after free');
    if (this.failure !== undefined) throw this.failure;
    this.inputs.push(input);
  }

  /** The inputs of a kind, since the beginning. */
  told(kind: string): unknown[][] {
    return this.inputs.filter(([name]) => name === kind).map(([, ...rest]) => rest);
  }

  start(): void {
    this.#input('start');
    for (let replica = 0; replica < 4; replica++) this.effects.push({ type: 'open', replica });
  }
  advance(): void {
    if (this.failure !== undefined) throw this.failure;
  }
  nextDeadline(): number | undefined {
    return this.deadline;
  }
  socketOpened(replica: number): void {
    this.#input('socketOpened', replica);
  }
  socketMessage(replica: number, bytes: Uint8Array): void {
    this.#input('socketMessage', replica, [...bytes]);
  }
  socketClosed(replica: number): void {
    this.#input('socketClosed', replica);
  }
  networkChanged(): void {
    this.#input('networkChanged');
  }
  invoke(payload: Uint8Array, timeout?: number): number {
    this.#input('invoke', JSON.parse(new TextDecoder().decode(payload)), timeout);
    return ++this.#calls;
  }
  query(payload: Uint8Array, timeout?: number): number {
    this.#input('query', JSON.parse(new TextDecoder().decode(payload)), timeout);
    return ++this.#calls;
  }
  subscribe(topic: string): number {
    this.#input('subscribe', topic);
    return ++this.#calls;
  }
  unsubscribe(subscription: number): number {
    this.#input('unsubscribe', subscription);
    return ++this.#calls;
  }
  cancel(call: number): void {
    this.#input('cancel', call);
    this.effects.push({
      type: 'failed',
      call,
      code: 'ABORTED',
      message: 'cancelled',
      outcome: 'unknown',
      evidence,
    });
  }
  close(): void {
    this.#input('close');
  }
  poll(): Told[] {
    const effect = this.effects.shift();
    return effect ? told(effect) : [];
  }
  status(): Status {
    const open = this.phase === 'ready' ? 4 : this.phase === 'degraded' ? 3 : 0;
    const replica = ({ id, url }: View['members'][number], index: number): Replica => ({
      id,
      url,
      state: index < open ? 'open' : 'connecting',
    });
    return {
      phase: this.phase,
      viewId: 0,
      n: 4,
      f: 1,
      connected: open,
      needed: 3,
      pending: 0,
      replicas: view.members.map(replica),
    };
  }
  free(): void {
    this.freed = true;
  }
}

/** A socket that the test opens, feeds and closes. */
export class FakeSocket implements WebSocketLike {
  static all: FakeSocket[] = [];
  binaryType = 'blob';
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: (() => void) | null = null;
  onerror: (() => void) | null = null;
  readonly sent: number[][] = [];
  closed = false;

  constructor(readonly url: string) {
    FakeSocket.all.push(this);
  }
  send(data: Uint8Array): void {
    this.sent.push([...data]);
  }
  close(): void {
    this.closed = true;
  }
}

/** A module that makes fake cores, and the last one it made. */
export function fakeModule() {
  const made: FakeCore[] = [];
  const module: CoreModule = {
    create(view, secret, seed, options) {
      const core = new FakeCore({ view, secret, seed, options });
      made.push(core);
      return core;
    },
    panicMessage: () => 'panicked at the test',
  };
  return {
    module,
    load: () => Promise.resolve(module),
    get core(): FakeCore {
      const core = made.at(-1);
      if (!core) throw new Error('no core was made');
      return core;
    },
    made,
  };
}
