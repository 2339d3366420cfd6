import { decodeJson, decodeResult, encodeRequest, makeCall, type Verified } from './call.js';
import type { Core, CoreEvidence, CoreModule, Effect } from './core.js';
import { Emitter, uncaught } from './emitter.js';
import { fromCore, WebBftError } from './errors.js';
import { Sockets, type WebSocketConstructor } from './sockets.js';
import { EventStream } from './subscription.js';
import type {
  Call,
  CallOptions,
  Client,
  ClientEvent,
  Ev,
  Evidence,
  LogEntry,
  Message,
  Op,
  Options,
  Phase,
  Service,
  Status,
  SubscribeOptions,
  Subscription,
  View,
} from './types.js';

const DEFAULT_TIMEOUT_MS = 10_000;
/** The longest that `setTimeout` can wait. */
const MAX_TIMER_MS = 2 ** 31 - 1;
/** Calls whose ids are kept for late votes; the core keeps fewer. */
const MAX_RECENT = 256;

type Cause = Extract<ClientEvent, { type: 'reconnect' }>['cause'];

/** A call that is not settled. */
interface Pending {
  readonly id: string;
  /** Hands it to the core; gives the core's id for it. */
  begin(core: Core): number;
  completed(result: Uint8Array, evidence: Evidence): void;
  failed(error: WebBftError): void;
}

interface ActiveSubscription {
  readonly topic: string;
  readonly id: string;
  // biome-ignore lint/suspicious/noExplicitAny: each topic has a type of its own
  readonly stream: EventStream<any>;
}

/** How the Wasm is loaded; tests supply a module of their own. */
export type Loader = (source: Options['wasm']) => Promise<CoreModule>;

export class WebBftClient<S extends Service> implements Client<S> {
  readonly #options: Options;
  readonly #load: Loader;
  readonly #emitter = new Emitter();
  #status: Status;
  #view: View | undefined;
  #starting: Promise<void> | undefined;
  #module: CoreModule | undefined;
  #core: Core | undefined;
  #sockets: Sockets | undefined;
  #closed: WebBftError | undefined;
  #lastCall = 0;
  /** Calls made while the core is being loaded, in order. */
  readonly #queue = new Map<string, Pending>();
  /** Calls handed to the core, by its ids. */
  readonly #calls = new Map<number, Pending>();
  readonly #subscriptions = new Map<number, ActiveSubscription>();
  readonly #recent = new Map<number, string>();
  readonly #opened = new Set<number>();
  readonly #cleanups: (() => void)[] = [];
  #cause: Cause = 'backoff';
  #pumping = false;
  #statusChanged = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAt: number | undefined;

  constructor(options: Options, load: Loader) {
    this.#options = options;
    this.#load = load;
    this.#view = typeof options.view === 'function' ? undefined : options.view;
    this.#status = this.#coreless('idle');
  }

  get status(): Status {
    return this.#status;
  }

  get clientId(): string | undefined {
    return this.#core?.clientId;
  }

  async connect(
    options: { signal?: AbortSignal; wait?: 'quorum' | 'all'; timeoutMs?: number } = {},
  ): Promise<void> {
    const { signal, wait = 'quorum' } = options;
    const timeoutMs = options.timeoutMs ?? this.#options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const aborted = () =>
      new WebBftError('ABORTED', 'connect was aborted', { cause: signal?.reason });
    if (signal?.aborted) throw aborted();
    const started = this.#start();
    await new Promise<void>((resolve, reject) => {
      const check = () => {
        const { phase } = this.#status;
        if (this.#closed) done(this.#closed);
        else if (phase === 'ready' || (phase === 'degraded' && wait === 'quorum')) done();
      };
      const abort = () => done(aborted());
      const off = this.#emitter.on('status', check);
      const timer = setTimeout(() => done(this.#unreachable(wait, timeoutMs)), timeoutMs);
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

  invoke<K extends Op<S>>(op: K, req: S['ops'][K]['req'], options: CallOptions = {}) {
    return this.#call<S['ops'][K]['res']>(op, req, options, (core, payload, timeout) =>
      core.invoke(payload, timeout),
    );
  }

  invokeUnordered<K extends Op<S>>(op: K, req: S['ops'][K]['req'], options: CallOptions = {}) {
    return this.#call<S['ops'][K]['res']>(op, req, options, (core, payload, timeout) =>
      core.query(payload, timeout),
    );
  }

  invokeSubscribe<K extends Ev<S>>(
    event: K,
    listener?: (message: Message<S['events'][K]>) => void,
    options: SubscribeOptions = {},
  ): Subscription<S['events'][K]> {
    const { signal } = options;
    const id = this.#nextId();
    let subscription: number | undefined;
    const host = {
      unsubscribe: () => {
        signal?.removeEventListener('abort', abort);
        return this.#unsubscribe(id, subscription);
      },
      uncaught,
    };
    const stream = new EventStream<S['events'][K]>(host, listener, options);
    const abort = () =>
      stream.fail(
        new WebBftError('ABORTED', `the subscription to ${event} was aborted`, {
          cause: signal?.reason,
        }),
      );
    const pending: Pending = {
      id,
      begin: (core) => {
        subscription = core.subscribe(event);
        this.#subscriptions.set(subscription, { topic: event, id, stream });
        return subscription;
      },
      completed: () => stream.begin(),
      failed: (error) => {
        signal?.removeEventListener('abort', abort);
        if (subscription !== undefined) this.#subscriptions.delete(subscription);
        stream.end(unlessClosed(error));
      },
    };
    if (signal?.aborted) {
      stream.end(new WebBftError('ABORTED', 'the signal was aborted', { cause: signal.reason }));
    } else {
      signal?.addEventListener('abort', abort);
      this.#submit(pending, undefined);
    }
    return stream;
  }

  on<T extends ClientEvent['type']>(
    type: T,
    fn: (event: Extract<ClientEvent, { type: T }>) => void,
    options: { signal?: AbortSignal } = {},
  ): () => void {
    return this.#emitter.on(type, fn, options.signal);
  }

  reconnectNow(): void {
    this.#networkChanged('manual');
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = new WebBftError('CLOSED', 'the client is closed');
    if (this.#core) {
      try {
        this.#enter((core) => core.close());
      } catch (error) {
        this.#log('error', 'the client crashed while it was closed', { error });
      }
    }
    this.#tearDown(this.#closed);
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
      if (!this.#closed) this.#setStatus(this.#coreless('idle'));
      for (const pending of this.#drainQueue()) pending.failed(error);
      throw error;
    });
    return this.#starting;
  }

  async #startOnce(): Promise<void> {
    this.#setStatus(this.#coreless('loading'));
    const webSocket = this.#webSocket();
    const [module, view] = await Promise.all([
      this.#load(this.#options.wasm),
      this.#view ?? this.#fetchView(),
    ]);
    if (this.#closed) throw this.#closed;
    this.#module = module;
    this.#view = view;
    const core = this.#create(module, view);
    this.#core = core;
    this.#sockets = new Sockets(webSocket, {
      opened: (replica) => this.#input((core) => core.socketOpened(replica)),
      message: (replica, bytes) => this.#input((core) => core.socketMessage(replica, bytes)),
      closed: (replica, reason) => {
        if (reason !== undefined) {
          const url = view.members[replica]?.url;
          this.#log('warn', 'the socket to a replica failed', { url, reason: String(reason) });
        }
        this.#input((core) => core.socketClosed(replica));
      },
    });
    this.#listen();
    this.#enter((core) => core.start());
    for (const pending of this.#drainQueue()) this.#begin(pending);
    this.#statusChanged = true;
    this.#pump();
  }

  #webSocket(): WebSocketConstructor {
    const webSocket = this.#options.WebSocket ?? globalThis.WebSocket;
    if (typeof webSocket === 'function') return webSocket;
    throw new WebBftError(
      'INPUT',
      "there is no WebSocket here; give one, such as that of npm's ws, in the options",
    );
  }

  async #fetchView(): Promise<View> {
    try {
      return await (this.#options.view as () => Promise<View>)();
    } catch (cause) {
      throw new WebBftError('VIEW', `the view could not be got: ${cause}`, { cause });
    }
  }

  #create(module: CoreModule, view: View): Core {
    const { identity = 'ephemeral', timeoutMs, reconnect, maxQueue } = this.#options;
    const random = () => crypto.getRandomValues(new Uint8Array(32));
    const secret = identity === 'ephemeral' ? random() : identity;
    const options = {
      callTimeout: timeoutMs,
      backoffMin: reconnect?.minMs,
      backoffMax: reconnect?.maxMs,
      maxPending: maxQueue,
    };
    try {
      return module.create(view, secret, random(), options, performance.now(), Date.now());
    } catch (thrown) {
      throw fromCore(thrown) ?? this.#crash(thrown);
    }
  }

  /** Tries lost links at once when the network or the page comes back. */
  #listen(): void {
    const listen = (target: EventTarget | undefined, type: string, handler: () => void) => {
      target?.addEventListener(type, handler);
      this.#cleanups.push(() => target?.removeEventListener(type, handler));
    };
    const scope = 'addEventListener' in globalThis ? globalThis : undefined;
    listen(scope, 'online', () => this.#networkChanged('online'));
    const page = globalThis.document;
    if (page && this.#options.reconnect?.onVisible !== false) {
      listen(page, 'visibilitychange', () => {
        if (page.visibilityState === 'visible') this.#networkChanged('visible');
      });
    }
  }

  #networkChanged(cause: Cause): void {
    this.#cause = cause;
    this.#input((core) => core.networkChanged());
    this.#cause = 'backoff';
  }

  // Calls

  #nextId(): string {
    this.#lastCall += 1;
    return String(this.#lastCall);
  }

  #call<T>(
    op: string,
    req: unknown,
    options: CallOptions,
    begin: (core: Core, payload: Uint8Array, timeout: number) => number,
  ): Call<T> {
    const id = this.#nextId();
    const { signal } = options;
    const timeoutMs = options.timeoutMs ?? this.#options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const result = new Promise<Verified<T>>((resolve, reject) => {
      const payload = encodeRequest(op, req);
      const deadline = performance.now() + timeoutMs;
      const abort = () => this.#abort(pending);
      const settle = (settlement: () => void) => {
        signal?.removeEventListener('abort', abort);
        settlement();
      };
      const pending: Pending = {
        id,
        begin: (core) => begin(core, payload, Math.max(1, deadline - performance.now())),
        completed: (result, evidence) =>
          settle(() => {
            try {
              resolve({ value: decodeResult<T>(result, evidence), evidence });
            } catch (error) {
              reject(error);
            }
          }),
        failed: (error) => settle(() => reject(error)),
      };
      if (signal?.aborted) throw abortion(signal);
      if (options.offline === 'fail' && !this.#quorate()) throw this.#offline();
      signal?.addEventListener('abort', abort);
      this.#submit(pending, timeoutMs);
    });
    return makeCall(id, result);

    function abortion(signal: AbortSignal): WebBftError {
      return new WebBftError('ABORTED', 'the call was aborted', { cause: signal.reason });
    }
  }

  /** Hands a call to the core, or keeps it until there is one. */
  #submit(pending: Pending, timeoutMs: number | undefined): void {
    if (this.#closed) {
      pending.failed(this.#closed);
    } else if (this.#core) {
      this.#begin(pending);
      this.#pump();
    } else {
      this.#enqueue(pending, timeoutMs);
      // A failure reaches the caller through the queue.
      this.#start().catch(() => {});
    }
  }

  #enqueue(pending: Pending, timeoutMs: number | undefined): void {
    const { maxQueue } = this.#options;
    if (maxQueue !== undefined && this.#queue.size >= maxQueue) {
      pending.failed(new WebBftError('QUEUE_FULL', `${maxQueue} calls are pending already`));
      return;
    }
    const timer =
      timeoutMs === undefined
        ? undefined
        : setTimeout(() => {
            this.#queue.delete(pending.id);
            pending.failed(new WebBftError('TIMEOUT', 'the client was not loaded in time'));
          }, timeoutMs);
    this.#queue.set(pending.id, {
      ...pending,
      begin: (core) => {
        clearTimeout(timer);
        return pending.begin(core);
      },
      failed: (error) => {
        clearTimeout(timer);
        pending.failed(error);
      },
    });
  }

  #drainQueue(): Pending[] {
    const queued = [...this.#queue.values()];
    this.#queue.clear();
    return queued;
  }

  #begin(pending: Pending): void {
    try {
      const call = this.#enter((core) => pending.begin(core));
      this.#calls.set(call, pending);
      this.#remember(call, pending.id);
    } catch (error) {
      pending.failed(error as WebBftError);
    }
  }

  #remember(call: number, id: string): void {
    this.#recent.set(call, id);
    if (this.#recent.size > MAX_RECENT) {
      const [oldest] = this.#recent.keys();
      if (oldest !== undefined) this.#recent.delete(oldest);
    }
  }

  #abort(pending: Pending): void {
    if (this.#queue.has(pending.id)) {
      this.#queue.get(pending.id)?.failed(new WebBftError('ABORTED', 'the call was aborted'));
      this.#queue.delete(pending.id);
      return;
    }
    for (const [call, { id }] of this.#calls) {
      // The core answers with the failure, and with what is known of the outcome.
      if (id === pending.id) this.#input((core) => core.cancel(call));
    }
  }

  #unsubscribe(id: string, subscription: number | undefined): Promise<void> {
    this.#queue.delete(id);
    if (subscription === undefined || this.#closed) return Promise.resolve();
    this.#subscriptions.delete(subscription);
    return new Promise((resolve, reject) => {
      const subscribing = this.#calls.delete(subscription);
      this.#submit(
        {
          id: this.#nextId(),
          begin: (core) => {
            // Before the replicas agree there is a call to cancel, and no subscription.
            if (subscribing) core.cancel(subscription);
            return core.unsubscribe(subscription);
          },
          completed: () => resolve(),
          failed: (error) =>
            // It had never begun, or the client closes and takes it along.
            error.code === 'INPUT' || error.code === 'CLOSED' ? resolve() : reject(error),
        },
        undefined,
      );
    });
  }

  // Driving the core

  /** One input, and all that follows from it; a crash has reached every caller by the end. */
  #input(feed: (core: Core) => void): void {
    if (!this.#core || this.#closed) return;
    try {
      this.#enter(feed);
    } catch (error) {
      if (!this.#closed) this.#log('error', 'the core refused an input', { error });
      return;
    }
    this.#pump();
  }

  #enter<T>(feed: (core: Core) => T): T {
    const core = this.#core;
    if (!core) throw this.#closed ?? new WebBftError('CLOSED', 'the client is not started');
    try {
      core.advance(performance.now(), Date.now());
      return feed(core);
    } catch (thrown) {
      throw fromCore(thrown) ?? this.#crash(thrown);
    }
  }

  /** Does everything the core wants done. */
  #pump(): void {
    // A function of the application that was called from here may have brought us here again.
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      for (;;) {
        const core = this.#core;
        if (!core) return;
        let effect: Effect | undefined;
        try {
          effect = core.poll();
        } catch (thrown) {
          this.#crash(thrown);
          return;
        }
        if (!effect) break;
        this.#apply(effect);
      }
    } finally {
      this.#pumping = false;
    }
    this.#schedule();
    this.#publishStatus();
  }

  #apply(effect: Effect): void {
    switch (effect.type) {
      case 'open':
        this.#open(effect.replica);
        break;
      case 'send':
        this.#sockets?.send(effect.replica, effect.bytes);
        break;
      case 'close':
        this.#sockets?.close(effect.replica);
        break;
      case 'completed': {
        const evidence = evidenceOf(effect.evidence);
        this.#votes('call', effect.call, evidence);
        this.#take(effect.call)?.completed(effect.result, evidence);
        break;
      }
      case 'failed': {
        const { code, message, outcome } = effect;
        const quorum = evidenceOf(effect.evidence);
        this.#votes('call', effect.call, quorum);
        const error = new WebBftError(code, message, { outcome, quorum });
        const pending = this.#take(effect.call);
        if (pending) pending.failed(error);
        else this.#subscriptions.get(effect.call)?.stream.end(unlessClosed(error));
        this.#subscriptions.delete(effect.call);
        break;
      }
      case 'votes':
        this.#votes('late', effect.call, evidenceOf(effect.evidence));
        break;
      case 'subscribed': {
        const evidence = evidenceOf(effect.evidence);
        this.#votes('call', effect.call, evidence);
        this.#take(effect.call)?.completed(new Uint8Array(), evidence);
        break;
      }
      case 'event':
        this.#event(effect);
        break;
      case 'gap': {
        const subscription = this.#subscriptions.get(effect.call);
        if (!subscription) break;
        subscription.stream.gap();
        const [missedFrom, next] = [BigInt(effect.missedFrom), BigInt(effect.next)];
        this.#emitter.emit({ type: 'gap', event: subscription.topic, missedFrom, next });
        break;
      }
      case 'suspect': {
        const call = effect.call === undefined ? undefined : this.#recent.get(effect.call);
        const { replica, reason } = effect;
        this.#emitter.emit({ type: 'suspect', replica, reason, ...(call ? { call } : {}) });
        this.#statusChanged = true;
        break;
      }
      case 'status':
        this.#statusChanged = true;
    }
  }

  #open(replica: number): void {
    const member = this.#view?.members[replica];
    if (!member) return;
    this.#sockets?.open(replica, member.url);
    if (this.#opened.has(replica)) {
      this.#emitter.emit({ type: 'reconnect', replica: member.id, cause: this.#cause });
    }
    this.#opened.add(replica);
  }

  #event(effect: Extract<Effect, { type: 'event' }>): void {
    const subscription = this.#subscriptions.get(effect.call);
    if (!subscription) return;
    const evidence = evidenceOf(effect.evidence);
    this.#emitter.emit({ type: 'votes', kind: 'event', call: subscription.id, evidence });
    try {
      const value = decodeJson(effect.payload, { outcome: 'executed', quorum: evidence });
      subscription.stream.deliver({ value, number: BigInt(effect.number), evidence });
    } catch (error) {
      subscription.stream.fail(error as WebBftError);
    }
  }

  #votes(kind: 'call' | 'late', call: number, evidence: Evidence): void {
    const id = this.#recent.get(call);
    if (id !== undefined) this.#emitter.emit({ type: 'votes', kind, call: id, evidence });
  }

  #take(call: number): Pending | undefined {
    const pending = this.#calls.get(call);
    this.#calls.delete(call);
    return pending;
  }

  #schedule(): void {
    const at = this.#core?.nextDeadline();
    if (at === this.#timerAt && this.#timer !== undefined) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#timerAt = at;
    if (at === undefined) return;
    const wait = Math.min(Math.max(0, at - performance.now()), MAX_TIMER_MS);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#input(() => {});
    }, wait);
  }

  /** The Wasm is in an unknown state: nothing of it may be used any more. */
  #crash(thrown: unknown): WebBftError {
    let panic: string | undefined;
    try {
      panic = this.#module?.panicMessage();
    } catch {
      // It is that badly damaged; what was thrown has to do.
    }
    const message = `the WebBFT Wasm crashed: ${panic ?? thrown}; reload the page`;
    const error = new WebBftError('WASM_CRASH', message, { outcome: 'unknown', cause: thrown });
    this.#log('error', message, {});
    this.#closed = error;
    this.#core = undefined;
    this.#tearDown(error);
    return error;
  }

  #tearDown(error: WebBftError): void {
    this.#sockets?.closeAll();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const cleanup of this.#cleanups.splice(0)) cleanup();
    // Lets the core say what it knows about the calls that are cut short.
    this.#pump();
    const core = this.#core;
    this.#core = undefined;
    if (this.#pumping) queueMicrotask(() => core?.free());
    else core?.free();
    clearTimeout(this.#timer);
    const pending = [...this.#drainQueue(), ...this.#calls.values()];
    this.#calls.clear();
    for (const call of pending) call.failed(error);
    for (const { stream } of this.#subscriptions.values()) stream.end(unlessClosed(error));
    this.#subscriptions.clear();
    this.#setStatus(this.#coreless('closed'));
  }

  // Status

  #quorate(): boolean {
    return this.#status.phase === 'ready' || this.#status.phase === 'degraded';
  }

  #offline(): WebBftError {
    const { connected, needed } = this.#status;
    const message = `no quorum: ${connected} of the ${needed} replicas needed are connected`;
    return new WebBftError('OFFLINE', message);
  }

  #unreachable(wait: 'quorum' | 'all', timeoutMs: number): WebBftError {
    const { connected, n, needed, replicas } = this.#status;
    const rest = replicas.filter(({ state }) => state !== 'open');
    const names = rest.map(({ url, refused }) => (refused ? `${url} (${refused})` : url));
    const wanted = wait === 'all' ? n : needed;
    return new WebBftError(
      connected === 0 ? 'OFFLINE' : 'NO_QUORUM',
      `${connected} of ${wanted} replicas connected within ${timeoutMs} ms` +
        (names.length > 0 ? `; not connected: ${names.join(', ')}` : ''),
    );
  }

  #publishStatus(): void {
    const core = this.#core;
    if (!core) return;
    const pending = this.#calls.size;
    if (this.#statusChanged) {
      this.#statusChanged = false;
      this.#setStatus({ ...core.status(), pending });
    } else if (pending !== this.#status.pending) {
      this.#setStatus({ ...this.#status, pending });
    }
  }

  #setStatus(status: Status): void {
    this.#status = status;
    this.#emitter.emit({ type: 'status', status });
  }

  /** The status where there is no core to ask. */
  #coreless(phase: Phase): Status {
    const members = this.#view?.members ?? [];
    const state = 'closed';
    return {
      phase,
      viewId: this.#view?.number ?? 0,
      n: members.length,
      f: this.#view?.f ?? 0,
      connected: 0,
      needed: 0,
      pending: this.#queue.size,
      replicas: members.map(({ id, url }) => ({ id, url, state })),
    };
  }

  #log(level: LogEntry['level'], msg: string, fields: LogEntry['fields']): void {
    try {
      this.#options.log?.({ level, msg, fields });
    } catch (error) {
      uncaught(error);
    }
  }
}

function evidenceOf({ cid, viewId, needed, matching, differing, silent }: CoreEvidence): Evidence {
  const votes = { viewId, needed, matching, differing, silent };
  return cid === undefined ? votes : { ...votes, order: BigInt(cid) };
}

/** A subscription that ends because the client was closed ends well. */
function unlessClosed(error: WebBftError): WebBftError | undefined {
  return error.code === 'CLOSED' ? undefined : error;
}
