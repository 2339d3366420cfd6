import { decodeResult, encodeRequest, makeCall, type Verified } from './call.js';
import type { Core, CoreModule } from './core.js';
import { Emitter, guarded } from './emitter.js';
import { type Cause, Engine } from './engine.js';
import { aborted, fromCore, WebBftError } from './errors.js';
import { randomKey, storedKey } from './identity.js';
import { watchPage } from './page.js';
import { type Pending, Queue } from './pending.js';
import {
  connectAborted,
  connected,
  coreless,
  gotView,
  offline,
  outdated,
  quorate,
  type Wait,
} from './status.js';
import { Topics } from './topics.js';
import { autoTransport, type Dialler, only } from './transport/auto.js';
import { httpTransport } from './transport/http.js';
import { findWebSocket, webSocketTransport } from './transport/websocket.js';
import type {
  Call,
  CallOptions,
  Client,
  ClientEvent,
  Ev,
  LogEntry,
  Message,
  Op,
  Options,
  Service,
  Status,
  SubscribeOptions,
  Subscription,
  View,
} from './types.js';

const DEFAULT_TIMEOUT_MS = 10_000;
const DEFAULT_MAX_QUEUE = 1024;
/** Replicas that refuse a view can have it got anew this often, in milliseconds. */
const REFRESH_MS = 5_000;

/** How the Wasm is loaded; tests supply a module of their own. */
export type Loader = (source: Options['wasm']) => Promise<CoreModule>;

/** Hands a payload to the core. */
type Begin = (core: Core, payload: Uint8Array, timeout: number) => number;

/** A client: its life from `createClient` to `close`, and the calls in it. */
export class WebBftClient<S extends Service> implements Client<S> {
  readonly #options: Options<S>;
  readonly #load: Loader;
  readonly #emitter = new Emitter();
  readonly #queue: Queue;
  readonly #topics: Topics;
  #status: Status;
  #view: View | undefined;
  #starting: Promise<void> | undefined;
  #module: CoreModule | undefined;
  #secret: Uint8Array | undefined;
  #dialler: Dialler | undefined;
  #fetching = false;
  #fetchedAt = -Infinity;
  #engine: Engine | undefined;
  #closed: WebBftError | undefined;
  #lastCall = 0;
  #unwatch = () => {};

  constructor(options: Options<S>, load: Loader) {
    this.#options = options;
    this.#load = load;
    this.#view = typeof options.view === 'function' ? undefined : options.view;
    this.#queue = new Queue(options.maxQueue ?? DEFAULT_MAX_QUEUE);
    this.#topics = new Topics({
      nextId: () => this.#nextId(),
      emit: (event) => this.#emitter.emit(event),
      codec: (topic) => this.#options.codecs?.events?.[topic as Ev<S>],
      submit: (pending) => this.#submit(pending, undefined),
      release: (pending) => this.#release(pending),
    });
    this.#status = this.#coreless('idle');
  }

  get status(): Status {
    return this.#status;
  }

  get clientId(): string | undefined {
    return this.#engine?.clientId;
  }

  async connect(
    options: { signal?: AbortSignal; wait?: Wait; timeoutMs?: number } = {},
  ): Promise<void> {
    const { signal, wait = 'quorum' } = options;
    const timeoutMs = options.timeoutMs ?? this.#options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    if (signal?.aborted) throw connectAborted(signal);
    const started = this.#start();
    const status = () => {
      if (this.#closed) throw this.#closed;
      return this.#status;
    };
    await connected({ wait, timeoutMs, signal, started, emitter: this.#emitter, status });
  }

  invoke<K extends Op<S>>(op: K, req: S['ops'][K]['req'], options: CallOptions = {}) {
    const begin: Begin = (core, payload, timeout) => core.invoke(payload, timeout);
    return this.#call(op, req, options, 'unsent', begin);
  }

  invokeUnordered<K extends Op<S>>(op: K, req: S['ops'][K]['req'], options: CallOptions = {}) {
    const begin: Begin = (core, payload, timeout) => core.query(payload, timeout);
    return this.#call(op, req, options, 'always', begin);
  }

  invokeSubscribe<K extends Ev<S>>(
    event: K,
    listener?: (message: Message<S['events'][K]>) => void,
    options: SubscribeOptions = {},
  ): Subscription<S['events'][K]> {
    return this.#topics.subscribe(event, listener, options);
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
    if (this.#engine) this.#change(view);
    else this.#view = view;
  }

  async drain(): Promise<void> {
    const idle = () => this.#queue.size + (this.#engine?.pending ?? 0) === 0;
    if (idle()) return;
    await new Promise<void>((resolve) => {
      const off = this.#emitter.on('status', () => {
        if (!idle()) return;
        off();
        resolve();
      });
    });
  }

  reconnectNow(): void {
    this.#networkChanged('manual');
  }

  async close(): Promise<void> {
    if (!this.#closed) this.#end(new WebBftError('CLOSED', 'the client is closed'));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  // Starting

  #start(): Promise<void> {
    if (this.#closed) return Promise.reject(this.#closed);
    this.#starting ??= this.#startOnce().catch((cause: unknown) => {
      this.#starting = undefined;
      const error =
        cause instanceof WebBftError
          ? cause
          : new WebBftError('INPUT', `the client could not start: ${cause}`, { cause });
      const queued = this.#queue.drain();
      if (!this.#closed) this.#setStatus(this.#coreless('idle'));
      for (const pending of queued) pending.failed(error);
      throw error;
    });
    return this.#starting;
  }

  async #startOnce(): Promise<void> {
    this.#setStatus(this.#coreless('loading'));
    const [dialler, module, view] = await Promise.all([
      this.#transport(),
      this.#load(this.#options.wasm),
      this.#view ?? this.#fetchView(),
    ]);
    this.#secret ??= await this.#identity(view);
    if (this.#closed) throw this.#closed;
    this.#dialler = dialler;
    this.#module = module;
    // `updateView` may have been called meanwhile.
    const latest = this.#view ?? view;
    const core = this.#create(latest);
    const visibility = this.#options.reconnect?.onVisible !== false;
    this.#unwatch = watchPage((cause) => this.#networkChanged(cause), visibility);
    this.#run(core, latest, this.#queue.drain());
  }

  async #transport(): Promise<Dialler> {
    const { transport = 'auto' } = this.#options;
    const http = httpTransport((url, init) => fetch(url, init));
    if (transport === 'http') return only('http', http);
    const WebSocket = this.#options.WebSocket ?? (await findWebSocket());
    if (typeof WebSocket !== 'function') {
      if (WebSocket === undefined && transport === 'auto') return only('http', http);
      throw new WebBftError(
        'INPUT',
        "there is no WebSocket here; install npm's ws, or give a WebSocket in the options",
      );
    }
    const webSocket = webSocketTransport(WebSocket);
    return transport === 'auto' ? autoTransport(webSocket, http) : only('websocket', webSocket);
  }

  async #identity(view: View): Promise<Uint8Array> {
    const { identity = 'stored' } = this.#options;
    if (identity === 'ephemeral') return randomKey();
    if (identity !== 'stored') return identity;
    try {
      return (await storedKey(view.service)) ?? randomKey();
    } catch (error) {
      this.#log('warn', 'the key cannot be stored', { error });
      return randomKey();
    }
  }

  #fetchView(): Promise<View> {
    return gotView(this.#options.view);
  }

  #create(view: View): Core {
    const { timeoutMs, reconnect, maxQueue } = this.#options;
    const options = {
      callTimeout: timeoutMs,
      backoffMin: reconnect?.minMs,
      backoffMax: reconnect?.maxMs,
      maxPending: maxQueue,
    };
    const [module, secret] = [this.#module, this.#secret];
    if (!module || !secret) throw new WebBftError('CLOSED', 'the client is not started');
    try {
      return module.create(view, secret, randomKey(), options, performance.now(), Date.now());
    } catch (thrown) {
      throw fromCore(thrown) ?? this.#crash(thrown);
    }
  }

  #run(core: Core, view: View, calls: readonly Pending[]): void {
    const dialler = this.#dialler;
    if (!dialler) return;
    this.#view = view;
    const engine = new Engine(core, view, dialler, {
      emit: (event) => this.#emitter.emit(event),
      status: (status) => this.#linksChanged(status),
      log: (level, msg, fields) => this.#log(level, msg, fields),
      crashed: (thrown) => this.#crash(thrown),
    });
    this.#engine = engine;
    engine.start(calls);
  }

  // Views

  #linksChanged(status: Status): void {
    this.#setStatus(status);
    if (outdated(status) && typeof this.#options.view === 'function') this.#refresh();
  }

  /** Gets the view anew: the replicas seem to have gone on to another one. */
  async #refresh(): Promise<void> {
    const now = performance.now();
    if (this.#fetching || now - this.#fetchedAt < REFRESH_MS) return;
    this.#fetching = true;
    this.#fetchedAt = now;
    try {
      const view = await this.#fetchView();
      if (!this.#closed) this.#change(view);
    } catch (error) {
      this.#log('warn', 'the new view could not be got', { error });
    } finally {
      this.#fetching = false;
    }
  }

  #change(view: View): void {
    const old = this.#view;
    if (!old || JSON.stringify(old) === JSON.stringify(view)) return;
    if (view.service !== old.service) {
      throw new WebBftError('VIEW', `the view is of another service, ${view.service}`);
    }
    const core = this.#create(view);
    // Not from inside the engine that is to end, should this be a listener.
    queueMicrotask(() => {
      const engine = this.#engine;
      if (!engine) {
        core.free();
        return;
      }
      this.#run(core, view, engine.retire());
      const ids = (of: View) => of.members.map(({ id }) => id);
      const [before, after] = [ids(old), ids(view)];
      this.#emitter.emit({
        type: 'view',
        from: old.number,
        to: view.number,
        joined: after.filter((id) => !before.includes(id)),
        left: before.filter((id) => !after.includes(id)),
      });
    });
  }

  // Calls

  #nextId(): string {
    this.#lastCall += 1;
    return String(this.#lastCall);
  }

  #call<K extends Op<S>>(
    op: K,
    req: S['ops'][K]['req'],
    options: CallOptions,
    again: Pending['again'],
    begin: Begin,
  ): Call<S['ops'][K]['res']> {
    type T = S['ops'][K]['res'];
    const codec = this.#options.codecs?.ops?.[op];
    const id = this.#nextId();
    const { signal } = options;
    const timeoutMs = options.timeoutMs ?? this.#options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const result = new Promise<Verified<T>>((resolve, reject) => {
      const payload = encodeRequest(op, req, codec?.req);
      const deadline = performance.now() + timeoutMs;
      const abort = () => this.#abort(id, signal);
      const settle = (settlement: () => void) => {
        signal?.removeEventListener('abort', abort);
        settlement();
      };
      const pending: Pending = {
        id,
        again,
        begin: (core) => begin(core, payload, Math.max(1, deadline - performance.now())),
        completed: (result, evidence) =>
          settle(() => {
            try {
              resolve({ value: decodeResult<T>(result, evidence, codec?.res), evidence });
            } catch (error) {
              reject(error);
            }
          }),
        failed: (error) => settle(() => reject(error)),
      };
      if (signal?.aborted) throw aborted('the call', signal);
      if (options.offline === 'fail' && !quorate(this.#status)) throw offline(this.#status);
      signal?.addEventListener('abort', abort);
      this.#submit(pending, timeoutMs);
    });
    return makeCall(id, result);
  }

  /** Hands a call to the core, or keeps it until there is one. */
  #submit(pending: Pending, timeoutMs: number | undefined): void {
    if (this.#closed) {
      pending.failed(this.#closed);
    } else if (this.#engine) {
      this.#engine.submit(pending);
    } else {
      this.#queue.add(pending, timeoutMs);
      // A failure reaches the caller through the queue.
      this.#start().catch(() => {});
    }
  }

  #abort(id: string, signal: AbortSignal | undefined): void {
    const queued = this.#queue.remove(id);
    if (queued) queued.failed(aborted('the call', signal));
    else this.#engine?.cancel(id);
  }

  #release(pending: Pending): number | undefined {
    if (this.#queue.remove(pending.id)) return undefined;
    const subscription = pending.feed && this.#engine?.dropFeed(pending.feed);
    if (subscription === undefined) this.#engine?.cancel(pending.id);
    return this.#closed ? undefined : subscription;
  }

  #networkChanged(cause: Cause): void {
    this.#engine?.networkChanged(cause);
  }

  // The end

  /** The Wasm is in an unknown state: nothing of it may be used any more. */
  #crash(thrown: unknown): WebBftError {
    if (this.#closed) return this.#closed;
    let panic: string | undefined;
    try {
      panic = this.#module?.panicMessage();
    } catch {
      // It is that badly damaged; what was thrown has to do.
    }
    const message = `the WebBFT Wasm crashed: ${panic ?? thrown}; make a new client`;
    const error = new WebBftError('WASM_CRASH', message, { outcome: 'unknown', cause: thrown });
    this.#log('error', message, {});
    const engine = this.#engine;
    this.#engine = undefined;
    engine?.abandon(error);
    this.#end(error);
    return error;
  }

  #end(error: WebBftError): void {
    this.#closed = error;
    this.#unwatch();
    this.#engine?.close(error);
    this.#engine = undefined;
    for (const pending of this.#queue.drain()) pending.failed(error);
    this.#setStatus(this.#coreless('closed'));
  }

  // Telling

  #setStatus(status: Status): void {
    this.#status = status;
    this.#emitter.emit({ type: 'status', status });
  }

  #coreless(phase: Status['phase']): Status {
    return coreless(phase, this.#view, this.#queue.size);
  }

  #log(level: LogEntry['level'], msg: string, fields: LogEntry['fields']): void {
    guarded(() => this.#options.log?.({ level, msg, fields }));
  }
}
