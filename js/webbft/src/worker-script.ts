// The other side of `webbft/worker`: a client in a worker, driven by messages from its page.
import { bytes, createClient } from './index.js';
import { importInNode } from './node.js';
import type { Client, Options, Service, Subscription } from './types.js';
import {
  type Answer,
  type Cause,
  type FromWorker,
  plainEntry,
  received,
  type SentOptions,
  sendable,
  type ToWorker,
} from './worker-messages.js';

/** Ids of the latest calls, kept for votes that come late. */
const MAX_RECENT = 1024;

type Post = (message: FromWorker) => void;

/** Serves one page: the messages it gets are methods of a client, what it posts are their results. */
function serve(post: Post): (message: ToWorker) => void {
  let client: Client<Service> | undefined;
  let cause: Cause | undefined;
  const asked = new Map<Answer['what'], (answer: Answer) => void>();
  const aborts = new Map<string, AbortController>();
  const subscriptions = new Map<string, Subscription<unknown>>();
  /** Our ids by the client's. */
  const names = new Map<string, string>();

  function ask<A extends Answer>(what: A['what']): Promise<A> {
    return new Promise((resolve, reject) => {
      asked.set(what, (answer) => {
        if ('error' in answer) reject(received(answer.error));
        else resolve(answer as A);
      });
      post({ type: 'ask', what });
    });
  }

  function options({ view, wasm, log, coded, ...rest }: SentOptions): Options {
    return {
      ...rest,
      codecs: {
        ops: Object.fromEntries(coded.ops.map((op) => [op, { req: bytes, res: bytes }])),
        events: Object.fromEntries(coded.events.map((event) => [event, bytes])),
      },
      view:
        view === 'ask'
          ? async () => (await ask<Extract<Answer, { view: unknown }>>('view')).view
          : view,
      ...(wasm === undefined ? {} : { wasm: wasm === 'ask' ? fetched() : wasm }),
      ...(log ? { log: (entry) => post({ type: 'log', entry: plainEntry(entry) }) } : {}),
    };
  }

  function fetched(): Promise<Response> {
    const response = ask<Extract<Answer, { bytes: unknown }>>('wasm').then(
      ({ status, contentType, bytes }) =>
        new Response(bytes, { status, headers: { 'content-type': contentType } }),
    );
    // The client says what became of it when it starts.
    response.catch(() => {});
    return response;
  }

  function create(sent: SentOptions): Client<Service> {
    const made = createClient<Service>(options(sent));
    made.on('status', ({ status }) => post({ type: 'status', status, clientId: made.clientId }));
    made.on('view', (event) => post({ type: 'event', event }));
    made.on('gap', (event) => post({ type: 'event', event }));
    made.on('announcement', (event) => post({ type: 'event', event }));
    made.on('reconnect', (event) =>
      post({ type: 'event', event: cause === undefined ? event : { ...event, cause } }),
    );
    made.on('votes', (event) =>
      post({ type: 'event', event: { ...event, call: names.get(event.call) ?? event.call } }),
    );
    made.on('suspect', ({ call, ...event }) => {
      const name = call === undefined ? undefined : (names.get(call) ?? call);
      post({ type: 'event', event: name === undefined ? event : { ...event, call: name } });
    });
    return made;
  }

  function name(inner: string, outer: string): void {
    names.set(inner, outer);
    if (names.size > MAX_RECENT) {
      const [oldest] = names.keys();
      if (oldest !== undefined) names.delete(oldest);
    }
  }

  /** Answers for `id` when `work`, which may be aborted by that id, has settled. */
  function answer(id: string, work: (signal: AbortSignal) => Promise<object>): void {
    const controller = new AbortController();
    aborts.set(id, controller);
    work(controller.signal)
      .then(
        (result) => post({ type: 'done', id, ...result }),
        (error) => post({ type: 'failed', id, error: sendable(error) }),
      )
      .finally(() => aborts.delete(id));
  }

  function subscribe(made: Client<Service>, id: string, topic: string): void {
    const subscription = made.invokeSubscribe(topic, (message) =>
      post({ type: 'message', id, topic, message }),
    );
    subscriptions.set(id, subscription);
    subscription.ready.then(
      () => post({ type: 'done', id }),
      () => {},
    );
    subscription.closed.then((error) => {
      subscriptions.delete(id);
      post({ type: 'ended', id, error: error && sendable(error) });
    });
  }

  function handle(made: Client<Service>, message: ToWorker): void {
    switch (message.type) {
      case 'connect':
        answer(message.id, async (signal) => {
          await made.connect({ ...message.options, signal });
          return {};
        });
        break;
      case 'call': {
        const { id, kind, op, req } = message;
        answer(id, (signal) => {
          const call = made[kind](op, req, { ...message.options, signal });
          name(call.id, id);
          return call.verified();
        });
        break;
      }
      case 'subscribe':
        subscribe(made, message.id, message.topic);
        break;
      case 'unsubscribe':
        answer(message.id, async () => {
          await subscriptions.get(message.subscription)?.unsubscribe();
          return {};
        });
        break;
      case 'view':
        try {
          made.updateView(message.view);
        } catch (error) {
          const entry = {
            level: 'error',
            msg: 'the view was not taken',
            fields: { error },
          } as const;
          post({ type: 'log', entry: plainEntry(entry) });
        }
        break;
      case 'drain':
        answer(message.id, async () => {
          await made.drain();
          return {};
        });
        break;
      case 'announce':
        made.announce(message.topic, message.value);
        break;
      case 'abort':
        aborts.get(message.id)?.abort();
        break;
      case 'network':
        cause = message.cause;
        made.reconnectNow();
        cause = undefined;
        break;
      case 'answer':
        asked.get(message.answer.what)?.(message.answer);
        break;
      case 'close':
        // What is cut short is told before the end is.
        made.close().then(() => setTimeout(() => post({ type: 'closed' })));
    }
  }

  return (message) => {
    if (message.type === 'create') client = create(message.options);
    else if (client) handle(client, message);
  };
}

/** A worker's global scope in browsers, Deno and Bun. */
interface Scope {
  postMessage(message: unknown): void;
  addEventListener(type: 'message', handler: (event: MessageEvent) => void): void;
}

/** A worker's end of the channel in Node. */
interface NodePort {
  postMessage(message: unknown): void;
  on(event: 'message', handler: (message: ToWorker) => void): void;
}

if (typeof (globalThis as Partial<Scope>).postMessage === 'function') {
  const scope = globalThis as unknown as Scope;
  const receive = serve((message) => scope.postMessage(message));
  scope.addEventListener('message', ({ data }) => receive(data));
} else {
  importInNode('node:worker_threads').then((threads) => {
    const { parentPort } = threads as { parentPort: NodePort };
    parentPort.on(
      'message',
      serve((message) => parentPort.postMessage(message)),
    );
  });
}
