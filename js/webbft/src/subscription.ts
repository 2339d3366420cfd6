import { guarded } from './emitter.js';
import { aborted, type Outcome, WebBftError } from './errors.js';
import type { Message, SubscribeOptions, Subscription } from './types.js';

const DEFAULT_BUFFER = 1024;

interface Taker<T> {
  resolve(result: IteratorResult<Message<T>, undefined>): void;
  reject(error: Error): void;
}

/** One listener or iterator of a topic, which feeds it with `begin`, `deliver`, `gap` and `end`. */
export class EventStream<T> implements Subscription<T> {
  /** Could the replicas have subscribed us? */
  outcome: Outcome = 'not-sent';
  readonly ready: Promise<void>;
  readonly closed: Promise<Error | undefined>;
  readonly #leave: (stream: EventStream<T>) => Promise<void>;
  readonly #signal: AbortSignal | undefined;
  readonly #listener: ((message: Message<T>) => void) | undefined;
  readonly #limit: number;
  readonly #dropOldest: boolean;
  readonly #buffer: Message<T>[] = [];
  readonly #takers: Taker<T>[] = [];
  #gap = false;
  #ended: { readonly error: Error | undefined } | undefined;
  #resolveReady!: () => void;
  #rejectReady!: (error: Error) => void;
  #resolveClosed!: (error: Error | undefined) => void;

  /** `leave` is called when the stream ends of itself; it settles when the topic knows. */
  constructor(
    listener: ((message: Message<T>) => void) | undefined,
    options: SubscribeOptions,
    leave: (stream: EventStream<T>) => Promise<void>,
  ) {
    this.#leave = leave;
    this.#listener = listener;
    this.#signal = options.signal;
    this.#limit = options.buffer ?? DEFAULT_BUFFER;
    this.#dropOldest = options.overflow === 'drop-oldest';
    this.ready = new Promise((resolve, reject) => {
      this.#resolveReady = resolve;
      this.#rejectReady = reject;
    });
    // Whoever only listens hears of a failure through `closed`.
    this.ready.catch(() => {});
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    if (this.#signal?.aborted) this.end(this.#abortion());
    else this.#signal?.addEventListener('abort', this.#abort);
  }

  get ended(): boolean {
    return this.#ended !== undefined;
  }

  begin(): void {
    this.outcome = 'executed';
    this.#resolveReady();
  }

  deliver(message: Omit<Message<T>, 'gapBefore'>): void {
    if (this.#ended) return;
    const complete = { ...message, gapBefore: this.#gap };
    this.#gap = false;
    const listener = this.#listener;
    if (listener) {
      guarded(() => listener(complete));
      return;
    }
    const taker = this.#takers.shift();
    if (taker) {
      taker.resolve({ done: false, value: complete });
      return;
    }
    this.#buffer.push(complete);
    if (this.#buffer.length <= this.#limit) return;
    if (this.#dropOldest) {
      this.#buffer.shift();
      const first = this.#buffer[0];
      if (first) this.#buffer[0] = { ...first, gapBefore: true };
    } else {
      const message = `${this.#limit} events are waiting to be taken; take them faster`;
      this.fail(new WebBftError('OVERFLOW', message, { outcome: 'executed' }));
    }
  }

  gap(): void {
    this.#gap = true;
  }

  /** It is over; nothing is left to be told to the replicas. Buffered events can still be taken. */
  end(error?: Error): void {
    if (this.#ended) return;
    this.#ended = { error };
    this.#signal?.removeEventListener('abort', this.#abort);
    this.#rejectReady(error ?? new WebBftError('CLOSED', 'the subscription has ended'));
    this.#resolveClosed(error);
    for (const taker of this.#takers.splice(0)) {
      if (error) taker.reject(error);
      else taker.resolve({ done: true, value: undefined });
    }
  }

  /** Ends it with an error and leaves the topic. */
  fail(error: Error): void {
    if (this.#ended) return;
    this.end(error);
    this.#leave(this).catch(() => {});
  }

  readonly #abort = (): void => this.fail(this.#abortion());

  #abortion(): WebBftError {
    return aborted('the subscription', this.#signal, this.outcome);
  }

  async unsubscribe(): Promise<void> {
    if (this.#ended) return;
    this.end();
    await this.#leave(this);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.unsubscribe();
  }

  [Symbol.asyncIterator](): AsyncIterator<Message<T>, undefined> {
    return {
      next: () => this.#take(),
      return: async () => {
        await this.unsubscribe();
        return { done: true, value: undefined };
      },
    };
  }

  #take(): Promise<IteratorResult<Message<T>, undefined>> {
    const value = this.#buffer.shift();
    if (value) return Promise.resolve({ done: false, value });
    if (this.#ended?.error) return Promise.reject(this.#ended.error);
    if (this.#ended) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => {
      this.#takers.push({ resolve, reject });
    });
  }
}
