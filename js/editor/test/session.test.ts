import { ChangeSet } from '@codemirror/state';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Evidence, Message, Status } from 'webbft';
import type { EditEvent, EditRequest, ServiceError } from '../src/service.ts';
import { type EditorClient, Session } from '../src/session.ts';
import { textOf } from '../src/sync.ts';
import { ServerModel } from './model.ts';

const EVIDENCE: Evidence = {
  needed: 3,
  matching: [0, 1, 2],
  differing: [3],
  silent: [],
  viewId: 0,
};

function clientError(code: string, outcome: string, detail?: ServiceError): Error {
  const retryable = ['TIMEOUT', 'NO_QUORUM', 'OFFLINE', 'EXPIRED'].includes(code);
  const init = { name: 'WebBftError', code, outcome, retryable, detail };
  return Object.assign(new Error(`error ${code}`), init);
}

type Fate = (request: EditRequest) => { version: number };

/** A client whose replicas are the model; each edit meets the next `fates`, or is executed. */
class FakeClient {
  readonly server = new ServerModel('hello');
  readonly calls: string[] = [];
  readonly fates: Fate[] = [];
  /** Whether events reach the page. */
  deliver = true;
  /** Edits before this version are forgotten. */
  oldest = 0;
  connected = 4;
  #listener: ((message: Message<EditEvent>) => void) | null = null;
  #statusListener: (() => void) | null = null;

  readonly client = {
    connect: async () => {},
    invoke: (op: string, request: EditRequest) => this.#call(op, request),
    invokeUnordered: (op: string, request: { version: number }) => this.#call(op, request),
    invokeSubscribe: (_topic: string, listener: (message: Message<EditEvent>) => void) => {
      this.#listener = listener;
      return { ready: Promise.resolve(), closed: new Promise(() => {}) };
    },
    on: (_type: string, listener: () => void) => {
      this.#statusListener = listener;
      return () => {};
    },
    status: {} as Status,
  };

  constructor() {
    Object.defineProperty(this.client, 'status', {
      get: () => ({ connected: this.connected, needed: 3 }),
    });
  }

  setConnected(connected: number): void {
    this.connected = connected;
    this.#statusListener?.();
  }

  execute = (author: string, request: EditRequest): { version: number } => {
    const event = this.server.edit(author, request);
    if (this.deliver) this.publish(event);
    return { version: event.version };
  };

  publish(value: EditEvent): void {
    const number = BigInt(value.version);
    this.#listener?.({ value, evidence: EVIDENCE, gapBefore: false, number });
  }

  #answer(op: string, request: EditRequest | { version: number }): unknown {
    const { server } = this;
    if (op === 'edit') {
      const fate = this.fates.shift() ?? ((edit: EditRequest) => this.execute('me', edit));
      return fate(request as EditRequest);
    }
    if (op === 'read') return { version: server.version, text: server.text };
    const { version } = request as { version: number };
    if (version < this.oldest) {
      throw clientError('SERVICE', 'executed', { code: 'tooOld', message: 'too old' });
    }
    return { version: server.version, edits: server.log.slice(version) };
  }

  #call(op: string, request: EditRequest | { version: number }) {
    this.calls.push(op);
    this.#statusListener?.(); // as the client does: one call more is pending
    const result = Promise.resolve().then(() => this.#answer(op, request));
    result.catch(() => {});
    const verified = result.then((value) => ({ value, evidence: EVIDENCE }));
    verified.catch(() => {});
    return Object.assign(result, { id: `call ${this.calls.length}`, verified: () => verified });
  }
}

/** A page without a DOM. */
class Page {
  readonly fake = new FakeClient();
  readonly told: string[] = [];
  readonly accepted: number[] = [];
  text = textOf('');
  readonly session = new Session(this.fake.client as unknown as EditorClient, 'notes', {
    opened: (text) => {
      this.text = text;
    },
    apply: (changes) => {
      this.text = changes.apply(this.text);
    },
    accepted: ({ version }) => this.accepted.push(version),
    confirmed: ({ version, own }) => this.told.push(`${own ? 'own' : 'other'} ${version}`),
    refused: ({ code }) => this.told.push(`refused ${code}`),
    failed: (error) => this.told.push(`failed ${(error as { code: string }).code}`),
    changed: () => {},
  });

  type(at: number, insert: string): void {
    const changes = ChangeSet.of({ from: at, insert }, this.text.length, '\n');
    this.text = changes.apply(this.text);
    this.session.local(changes);
  }

  state() {
    return {
      shown: this.text.toString(),
      agreed: this.fake.server.text,
      pending: this.session.pending,
      told: this.told,
    };
  }
}

let page: Page;
/** Lets everything happen that does not wait for something else to happen. */
const settle = () => vi.advanceTimersByTimeAsync(60_000);

beforeEach(async () => {
  vi.useFakeTimers();
  page = new Page();
  await page.session.start();
});
afterEach(() => {
  page.session.close();
  vi.useRealTimers();
});

describe('Session', () => {
  test('shows what others write, and sends what is typed', async () => {
    const spans = [{ from: 0, to: 0, insert: '> ' }];
    page.fake.execute('them', { doc: 'notes', base: 0, tag: 't', spans });
    page.type(7, '!');
    page.type(8, '?');
    await settle();
    expect(page.state()).toEqual({
      shown: '> hello!?',
      agreed: '> hello!?',
      pending: false,
      told: ['other 1', 'own 2', 'own 3'],
    });
  });

  test('sends again what never left', async () => {
    page.fake.fates.push(() => {
      throw clientError('OFFLINE', 'not-sent');
    });
    page.type(5, '!');
    await settle();
    expect(page.state()).toMatchObject({ shown: 'hello!', agreed: 'hello!', pending: false });
    expect(page.fake.calls).toEqual(['read', 'edit', 'edit']);
  });

  test('does not repeat an edit that was executed although its call failed', async () => {
    page.fake.deliver = false;
    page.fake.fates.push((request) => {
      page.fake.execute('me', request);
      throw clientError('TIMEOUT', 'unknown');
    });
    page.type(5, '!');
    await settle();
    expect(page.state()).toMatchObject({ shown: 'hello!', agreed: 'hello!', pending: false });
    expect(page.fake.calls).toEqual(['read', 'edit', 'read', 'since']);
  });

  test('repeats an edit whose call failed once it is certain that it was not executed', async () => {
    page.fake.fates.push(() => {
      throw clientError('TIMEOUT', 'unknown');
    });
    page.type(5, '!');
    await settle();
    expect(page.state()).toMatchObject({ shown: 'hello!', agreed: 'hello!', pending: false });
    expect(page.fake.calls).toEqual(['read', 'edit', 'read', 'since', 'edit']);
  });

  test('fetches its own edit when the event stays away', async () => {
    page.fake.deliver = false;
    page.type(5, '!');
    await settle();
    expect(page.state()).toMatchObject({ shown: 'hello!', agreed: 'hello!', pending: false });
    expect(page.fake.calls).toEqual(['read', 'edit', 'since']);
  });

  test('fetches the events that it missed, and takes them in order', async () => {
    const edit = (tag: string, insert: string) =>
      page.fake.server.edit('them', { base: 0, tag, spans: [{ from: 5, to: 5, insert }] });
    edit('t1', ' a');
    edit('t2', ' b');
    const third = edit('t3', ' c');
    page.fake.publish(third);
    page.type(0, '> ');
    await settle();
    expect(page.state()).toMatchObject({ shown: '> hello a b c', agreed: '> hello a b c' });
    expect(page.accepted).toEqual([1, 2, 3, 4]);
    expect(page.fake.calls).toEqual(['read', 'edit', 'since']);
  });

  test('reads anew when the missing edits are forgotten', async () => {
    const spans = [{ from: 5, to: 5, insert: ' there' }];
    page.fake.server.edit('them', { base: 0, tag: 't1', spans });
    const second = page.fake.server.edit('them', { base: 1, tag: 't2', spans: [] });
    page.fake.oldest = 2;
    page.fake.setConnected(2);
    page.type(0, '> ');
    page.fake.setConnected(4);
    page.fake.publish(second);
    await settle();
    expect(page.state()).toMatchObject({ shown: '> hello there', agreed: '> hello there' });
  });

  test('restates an edit whose base is too old', async () => {
    const spans = [{ from: 0, to: 0, insert: '> ' }];
    page.fake.server.edit('them', { base: 0, tag: 't', spans });
    page.fake.fates.push(() => {
      throw clientError('SERVICE', 'executed', { code: 'tooOld', message: 'too old' });
    });
    const bases: number[] = [];
    page.fake.fates.push((request) => {
      bases.push(request.base);
      return page.fake.execute('me', request);
    });
    page.type(5, '!');
    await settle();
    expect(page.state()).toMatchObject({ shown: '> hello!', agreed: '> hello!', told: ['own 2'] });
    expect(bases).toEqual([1]);
  });

  test('keeps what was not executed when it has to read anew', async () => {
    page.fake.fates.push(() => {
      page.fake.server.edit('them', { base: 0, tag: 't', spans: [] });
      page.fake.oldest = 1;
      throw clientError('TIMEOUT', 'unknown');
    });
    page.type(5, '!');
    await settle();
    expect(page.state()).toMatchObject({ shown: 'hello!', agreed: 'hello!', pending: false });
  });

  test('waits for the quorum, and takes changes meanwhile', async () => {
    page.fake.setConnected(2);
    page.type(5, '!');
    page.type(6, '?');
    await settle();
    expect(page.state()).toMatchObject({ shown: 'hello!?', agreed: 'hello', pending: true });
    page.fake.setConnected(3);
    await settle();
    expect(page.state()).toMatchObject({ shown: 'hello!?', agreed: 'hello!?', pending: false });
    expect(page.fake.server.log.length).toBe(1);
  });

  test('takes a refused edit back and says so', async () => {
    page.fake.fates.push(() => {
      throw clientError('SERVICE', 'executed', { code: 'tooLong', message: 'too long' });
    });
    page.type(5, '!');
    await settle();
    expect(page.state()).toEqual({
      shown: 'hello',
      agreed: 'hello',
      pending: false,
      told: ['refused tooLong'],
    });
  });

  test('ends when the client has ended', async () => {
    page.fake.fates.push(() => {
      throw clientError('CLOSED', 'unknown');
    });
    page.type(5, '!');
    await settle();
    expect(page.state()).toMatchObject({ shown: 'hello!', pending: true, told: ['failed CLOSED'] });
  });
});
