/**
 * A client without a network, for looking at the page before there are replicas to talk to. It
 * answers from the model of the service, a second writer types along, and the address chooses
 * what goes wrong: `?down=1,2`, `?liar=3`, `?delay=800`, `?quiet`, `?tooLong`.
 */

import type { Evidence, Message, Replica, Status } from 'webbft';
import type { EditEvent, EditRequest } from '../../src/service.ts';
import { ServerModel } from '../model.ts';

class WebBftError extends Error {
  override readonly name = 'WebBftError';
  readonly code: string;
  readonly retryable = true;
  readonly outcome: string;
  readonly detail: unknown;
  constructor(code: string, outcome: string, detail?: unknown) {
    super(code);
    this.code = code;
    this.outcome = outcome;
    this.detail = detail;
  }
}

const query = new URLSearchParams(location.search);
const ids = (name: string) => (query.get(name) ?? '').split(',').filter(Boolean).map(Number);
let down = ids('down');
const liars = ids('liar');
const delay = Number(query.get('delay') ?? 14);

const TEXT = `On the harbour wall

The lamp at the end of the mole has four keepers. Each keeps a book, and no ship is entered until three of the books agree.

One of them drinks. He writes down ships that never came and strikes out those that did, and nobody has ever been misled by it, since nobody reads one book alone.

😀 Ask any three.
`;
const REMOTE = ' Ask them twice, if the night was long.';

const server = new ServerModel(TEXT);
const listeners = new Set<(m: Message<EditEvent>) => void>();
const statusListeners = new Set<(e: { type: string; status: Status }) => void>();

function evidence(needed: number): Evidence {
  const up = [0, 1, 2, 3].filter((id) => !down.includes(id));
  return {
    needed,
    matching: up.filter((id) => !liars.includes(id)),
    differing: up.filter((id) => liars.includes(id)),
    silent: down,
    viewId: 0,
    order: 12n,
  };
}

function replica(id: number): Replica {
  const isDown = down.includes(id);
  return {
    id,
    url: `ws://127.0.0.1:${7100 + id}/ws`,
    state: isDown ? 'waiting' : 'open',
    ...(isDown ? {} : { rttMs: [0.8, 1.3, 2.1, 11.4][id] ?? 1 }),
    ...(liars.includes(id)
      ? { suspect: { reason: 'divergent' as const, count: 3, last: Date.now() } }
      : {}),
  };
}

function snapshot(): Status {
  const connected = 4 - down.length;
  const phase = connected < 3 ? 'offline' : connected < 4 ? 'degraded' : 'ready';
  const replicas = [0, 1, 2, 3].map(replica);
  return { phase, viewId: 0, n: 4, f: 1, connected, needed: 3, pending: 0, replicas };
}
let status = snapshot();

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function publish(event: EditEvent): void {
  setTimeout(() => {
    for (const listener of listeners) {
      listener({
        value: event,
        evidence: evidence(2),
        gapBefore: false,
        number: BigInt(event.version),
      });
    }
  }, delay * 0.9);
}

function call<T>(answer: () => T) {
  const result = (async () => {
    await wait(delay * (0.6 + 0.8 * Math.random()));
    if (status.connected < 3) throw new WebBftError('NO_QUORUM', 'not-sent');
    return { value: answer(), evidence: evidence(3) };
  })();
  return Object.assign(
    result.then(({ value }) => value),
    { id: 'fake', verified: () => result },
  );
}

/** What a liar makes of a text. */
const falsified = (text: string) => text.replace(/three/g, 'two');

function read(op: string, { version = 0 }: { version?: number }) {
  switch (op) {
    case 'since':
      return { version: server.version, edits: server.log.slice(version) };
    case 'history':
      return { oldest: 0, version: server.version, text: TEXT };
    case 'list':
      return {
        documents: [
          { doc: 'welcome', version: server.version, length: server.text.length, changed: 1e15 },
        ],
      };
    default:
      return { version: server.version, text: server.text };
  }
}

let started = false;

/** The page's client; or, with a view of one member, one that asks a liar alone. */
export function createClient({ view }: { view: { members?: readonly unknown[] } }) {
  const alone = view.members?.length === 1;
  if (!alone && !started && !query.has('quiet')) void typeAlong();
  started = true;
  return {
    clientId: 'fake',
    get status() {
      return status;
    },
    connect: () => wait(150),
    invoke: (op: string, request: EditRequest) =>
      call(() => {
        if (op === 'create') throw new WebBftError('FAULT', 'executed');
        if (query.has('tooLong')) {
          const message = 'the text would be longer than 1 MiB';
          throw new WebBftError('SERVICE', 'executed', { code: 'tooLong', message });
        }
        const event = server.edit('fake', request);
        publish(event);
        return { version: event.version };
      }),
    invokeUnordered: (op: string, request: { version?: number }) =>
      call(() => {
        const answer = read(op, request);
        return alone ? { version: server.version, text: falsified(server.text) } : answer;
      }),
    invokeSubscribe: (topic: string, listener: (m: Message<EditEvent>) => void) => {
      if (topic.startsWith('doc/')) listeners.add(listener);
      return { ready: wait(10), closed: new Promise(() => {}), unsubscribe: async () => {} };
    },
    announce: () => {},
    on: (type: string, listener: (e: { type: string; status: Status }) => void) => {
      if (type === 'status') statusListeners.add(listener);
      return () => {};
    },
    close: async () => {},
  };
}

/** For the person at the console: `fake.down([1, 2])`. */
Object.assign(window, {
  fake: {
    down(replicas: number[]) {
      down = replicas;
      status = snapshot();
      for (const listener of statusListeners) listener({ type: 'status', status });
    },
  },
});

async function typeAlong(): Promise<void> {
  for (let typed = 0; typed < REMOTE.length; typed += 3) {
    await wait(220);
    if (down.length > 1) continue;
    const at = server.text.indexOf('Ask any three.') + 'Ask any three.'.length + typed;
    const insert = REMOTE.slice(typed, typed + 3);
    const spans = [{ from: at, to: at, insert }];
    publish(server.edit('other', { base: server.version, tag: `other${typed}`, spans }));
  }
}
