import { decodePayload, decodeResult, encodeRequest, makeCall, type Verified } from './call.js';
import { Emitter, guarded, uncaught } from './emitter.js';
import { aborted, WebBftError } from './errors.js';
import { watchPage } from './page.js';
import { connectAborted, coreless, gotView } from './status.js';
import { EventStream } from './subscription.js';
import type {
  Call,
  CallOptions,
  Client,
  ClientEvent,
  Ev,
  Message,
  Op,
  Options,
  Service,
  Status,
  SubscribeOptions,
  Subscription,
  View,
} from './types.js';
import { type Answer, type FromWorker, received, sendable } from './worker-messages.js';
import { openPort, type Port, type WorkerLike } from './worker-port.js';

/** How long a worker may take to say that its client is closed. */
const CLOSING_MS = 2_000;

/** The options of a client in a worker. Its WebSocket is the worker's own. */
export interface WorkerOptions<S extends Service = Service> extends Omit<Options<S>, 'WebSocket'> {
  /** Makes the worker, of the script `webbft/worker/script`; a bundler finds it unless said. */
  readonly worker?: () => WorkerLike;
}

/** Waits for one answer of the worker. */
interface Waiting {
  done(answer: Extract<FromWorker, { type: 'done' }>): void;
  failed(error: WebBftError): void;
  readonly signal: AbortSignal | undefined;
}

/** A client whose protocol, Wasm and links are in a worker. */
export class WorkerClient<S extends Service> implements Client<S> {
  readonly #options: WorkerOptions<S>;
  readonly #emitter = new Emitter();
  readonly #waiting = new Map<string, Waiting>();
  // biome-ignore lint/suspicious/noExplicitAny: each topic has a type of its own
  readonly #streams = new Map<string, EventStream<any>>();
  #status: Status;
  #clientId: string | undefined;
  #port: Port | undefined;
  #heard = false;
  #closed: WebBftError | undefined;
  #ending: Promise<void> | undefined;
  #ended = () => {};
  #lastId = 0;
  #unwatch = () => {};

  constructor(options: WorkerOptions<S>) {
    this.#options = options;
    this.#status = this.#coreless('idle');
  }

  get status(): Status {
    return this.#status;
  }

  get clientId(): string | undefined {
    return this.#clientId;
  }

  async connect(
    options: { signal?: AbortSignal; wait?: 'quorum' | 'all'; timeoutMs?: number } = {},
  ): Promise<void> {
    const { signal, ...rest } = options;
    if (signal?.aborted) throw connectAborted(signal);
    await this.#request(
      (id) => this.#start().post({ type: 'connect', id, options: rest }),
      signal,
      this.#nextId(),
    );
  }

  invoke<K extends Op<S>>(op: K, req: S['ops'][K]['req'], options: CallOptions = {}) {
    return this.#call<S['ops'][K]['res']>('invoke', op, req, options);
  }

  invokeUnordered<K extends Op<S>>(op: K, req: S['ops'][K]['req'], options: CallOptions = {}) {
    return this.#call<S['ops'][K]['res']>('invokeUnordered', op, req, options);
  }

  invokeSubscribe<K extends Ev<S>>(
    event: K,
    listener?: (message: Message<S['events'][K]>) => void,
    options: SubscribeOptions = {},
  ): Subscription<S['events'][K]> {
    const id = this.#nextId();
    const stream = new EventStream<S['events'][K]>(listener, options, () => this.#leave(id));
    if (stream.ended) return stream;
    this.#streams.set(id, stream);
    const post = () => {
      this.#start().post({ type: 'subscribe', id, topic: event });
      stream.outcome = 'unknown';
    };
    this.#request(post, undefined, id)
      .then(() => stream.begin())
      .catch((error: Error) => {
        this.#streams.delete(id);
        stream.end(error);
      });
    return stream;
  }

  on<T extends ClientEvent['type']>(
    type: T,
    fn: (event: Extract<ClientEvent, { type: T }>) => void,
    options: { signal?: AbortSignal } = {},
  ): () => void {
    return this.#emitter.on(type, fn, options.signal);
  }

  updateView(view: View): void {
    if (this.#closed) throw this.#closed;
    this.#start().post({ type: 'view', view });
  }

  async drain(): Promise<void> {
    if (!this.#port || this.#closed) return;
    const post = (id: string) => this.#port?.post({ type: 'drain', id });
    await this.#request(post, undefined, this.#nextId()).catch((error: unknown) => {
      // Then nothing is pending either.
      if (!WebBftError.is(error, 'CLOSED')) throw error;
    });
  }

  reconnectNow(): void {
    this.#port?.post({ type: 'network', cause: 'manual' });
  }

  close(): Promise<void> {
    this.#ending ??= this.#close();
    return this.#ending;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  // Starting and ending

  /** The worker, with a client in it. */
  #start(): Port {
    if (this.#closed) throw this.#closed;
    if (this.#port) return this.#port;
    const { view, wasm, log, worker, codecs, ...rest } = this.#options;
    if ('WebSocket' in rest) {
      throw new WebBftError('INPUT', 'a worker has a WebSocket of its own; leave out the option');
    }
    const port = openPort(worker, {
      message: (message) => {
        this.#heard = true;
        if (this.#port === port) this.#handle(message);
      },
      failed: (reason) => {
        if (this.#port !== port) return;
        if (this.#heard) uncaught(reason);
        else this.#unstartable(reason);
      },
    });
    port.post({
      type: 'create',
      options: {
        ...rest,
        view: typeof view === 'function' ? 'ask' : view,
        wasm:
          typeof wasm === 'string' || wasm instanceof URL
            ? new URL(wasm, globalThis.location?.href).href
            : typeof Response === 'function' &&
                (wasm instanceof Response || wasm instanceof Promise)
              ? 'ask'
              : (wasm as WebAssembly.Module | BufferSource | undefined),
        log: log !== undefined,
        coded: {
          ops: Object.keys(codecs?.ops ?? {}),
          events: Object.keys(codecs?.events ?? {}),
        },
      },
    });
    this.#port = port;
    const visibility = this.#options.reconnect?.onVisible !== false;
    this.#unwatch = watchPage((cause) => port.post({ type: 'network', cause }), visibility);
    return port;
  }

  /** The next call makes a new worker. */
  #unstartable(reason: unknown): void {
    this.#port?.terminate();
    this.#port = undefined;
    this.#unwatch();
    this.#fail(new WebBftError('WASM_LOAD', `the worker could not be started: ${reason}`));
    this.#setStatus(this.#coreless('idle'));
  }

  async #close(): Promise<void> {
    const closed = new WebBftError('CLOSED', 'the client is closed');
    this.#closed ??= closed;
    this.#unwatch();
    const port = this.#port;
    if (port) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, CLOSING_MS);
        this.#ended = () => {
          clearTimeout(timer);
          resolve();
        };
        port.post({ type: 'close' });
      });
      port.terminate();
      this.#port = undefined;
    }
    this.#fail(closed);
    if (this.#status.phase !== 'closed') this.#setStatus(this.#coreless('closed'));
  }

  /** Fails whatever is not settled. */
  #fail(error: WebBftError): void {
    const [waiting, streams] = [[...this.#waiting.values()], [...this.#streams.values()]];
    this.#waiting.clear();
    this.#streams.clear();
    for (const { failed } of waiting) failed(error);
    for (const stream of streams) stream.end(error.code === 'CLOSED' ? undefined : error);
  }

  // Calls

  #nextId(): string {
    this.#lastId += 1;
    return String(this.#lastId);
  }

  #call<T>(
    kind: 'invoke' | 'invokeUnordered',
    op: string,
    req: unknown,
    { signal, ...options }: CallOptions,
  ): Call<T> {
    const id = this.#nextId();
    const codec = this.#options.codecs?.ops?.[op as Op<S>];
    const post = () => {
      const payload = encodeRequest(op, req, codec?.req);
      // What JSON makes of it crosses, so that the worker sees what the replicas will.
      const { op: _, ...plain } = codec ? {} : JSON.parse(new TextDecoder().decode(payload));
      const sent = codec ? payload : plain;
      this.#start().post({ type: 'call', id, kind, op, req: sent, options });
    };
    const result = this.#request(post, signal, id) as Promise<Verified<T>>;
    if (!codec) return makeCall(id, result);
    const decode = ({ value, evidence }: Verified<T>): Verified<T> => ({
      value: decodeResult(value as Uint8Array, evidence, codec.res),
      evidence,
    });
    return makeCall(id, result.then(decode));
  }

  /** Settles as the worker answers. */
  #request(
    post: (id: string) => void,
    signal: AbortSignal | undefined,
    id: string,
  ): Promise<{ value?: unknown; evidence?: unknown }> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) throw aborted('the call', signal);
      const abort = () => this.#port?.post({ type: 'abort', id });
      const settle = (settlement: () => void) => {
        signal?.removeEventListener('abort', abort);
        settlement();
      };
      post(id);
      signal?.addEventListener('abort', abort);
      this.#waiting.set(id, {
        done: ({ value, evidence }) => settle(() => resolve({ value, evidence })),
        failed: (error) => settle(() => reject(error)),
        signal,
      });
    });
  }

  /** Ends a subscription whose stream has ended. */
  async #leave(subscription: string): Promise<void> {
    this.#streams.delete(subscription);
    this.#waiting.delete(subscription);
    const port = this.#port;
    if (!port || this.#closed) return;
    const id = this.#nextId();
    await this.#request(
      (id) => port.post({ type: 'unsubscribe', id, subscription }),
      undefined,
      id,
    );
  }

  // The worker's messages

  #handle(message: FromWorker): void {
    switch (message.type) {
      case 'status':
        this.#clientId = message.clientId;
        if (message.status.phase === 'closed') this.#closed ??= crashed();
        this.#setStatus(message.status);
        break;
      case 'event':
        this.#emitter.emit(message.event);
        break;
      case 'log':
        guarded(() => this.#options.log?.(message.entry));
        break;
      case 'ask':
        this.#answer(message.what).then((answer) => this.#port?.post({ type: 'answer', answer }));
        break;
      case 'done':
        this.#take(message.id)?.done(message);
        break;
      case 'failed': {
        const { error } = message;
        const waiting = this.#take(message.id);
        const reason = error.code === 'ABORTED' ? waiting?.signal?.reason : undefined;
        if (error.code === 'WASM_CRASH') this.#closed = received(error);
        waiting?.failed(received(error, reason ?? error.cause));
        break;
      }
      case 'message': {
        const stream = this.#streams.get(message.id);
        if (stream) this.#deliver(stream, message.topic, message.message);
        break;
      }
      case 'ended': {
        const stream = this.#streams.get(message.id);
        this.#streams.delete(message.id);
        this.#waiting.delete(message.id);
        stream?.end(message.error && received(message.error));
        break;
      }
      case 'closed':
        this.#ended();
    }
  }

  // biome-ignore lint/suspicious/noExplicitAny: each topic has a type of its own
  #deliver(stream: EventStream<any>, topic: string, message: Message<unknown>): void {
    const codec = this.#options.codecs?.events?.[topic as Ev<S>];
    if (message.gapBefore) stream.gap();
    try {
      const value = codec
        ? decodePayload(message.value as Uint8Array, message.evidence, codec)
        : message.value;
      stream.deliver({ ...message, value });
    } catch (error) {
      stream.fail(error as WebBftError);
    }
  }

  #take(id: string): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    return waiting;
  }

  async #answer(what: 'view' | 'wasm'): Promise<Answer> {
    try {
      if (what === 'view') return { what, view: await gotView(this.#options.view) };
      const response = (await this.#options.wasm) as Response;
      const contentType = response.headers.get('content-type') ?? '';
      return { what, status: response.status, contentType, bytes: await response.arrayBuffer() };
    } catch (cause) {
      const message = `the WebBFT Wasm could not be loaded: ${cause}`;
      const error =
        cause instanceof WebBftError ? cause : new WebBftError('WASM_LOAD', message, { cause });
      return { what, error: sendable(error) };
    }
  }

  #setStatus(status: Status): void {
    this.#status = status;
    this.#emitter.emit({ type: 'status', status });
  }

  #coreless(phase: Status['phase']): Status {
    const { view } = this.#options;
    return coreless(phase, typeof view === 'function' ? undefined : view, 0);
  }
}

/** The client in the worker has ended, and it was not asked to. */
function crashed(): WebBftError {
  return new WebBftError('WASM_CRASH', 'the WebBFT Wasm crashed; create a new client', {
    outcome: 'unknown',
  });
}
