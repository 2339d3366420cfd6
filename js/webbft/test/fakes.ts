import type { Core, CoreEvidence, CoreModule, CoreOptions, Effect } from '../src/core.js';
import type { WebSocketLike } from '../src/transport/websocket.js';
import type { Replica, Status, View } from '../src/types.js';

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
  poll(): Effect | undefined {
    return this.effects.shift();
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
