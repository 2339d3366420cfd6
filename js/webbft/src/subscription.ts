import { WebBftError } from './errors.js';
import type { Message, SubscribeOptions, Subscription } from './types.js';

const DEFAULT_BUFFER = 1024;

interface Taker<T> {
  resolve(result: IteratorResult<Message<T>, undefined>): void;
  reject(error: Error): void;
}

/** What a subscription needs of its client. */
export interface SubscriptionHost {
  /** Tells the replicas; settles when they agree. */
  unsubscribe(): Promise<void>;
  /** Reports an error that a listener threw. */
  uncaught(error: unknown): void;
}

/** A subscription: the client feeds it with `begin`, `deliver`, `gap` and `end`. */
export class EventStream<T> implements Subscription<T> {
  readonly ready: Promise<void>;
  readonly closed: Promise<Error | undefined>;
  readonly #host: SubscriptionHost;
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

  constructor(
    host: SubscriptionHost,
    listener: ((message: Message<T>) => void) | undefined,
    options: SubscribeOptions,
  ) {
    this.#host = host;
    this.#listener = listener;
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
  }

  get ended(): boolean {
    return this.#ended !== undefined;
  }

  begin(): void {
    this.#resolveReady();
  }

  deliver(message: Omit<Message<T>, 'gapBefore'>): void {
    if (this.#ended) return;
    const complete = { ...message, gapBefore: this.#gap };
    this.#gap = false;
    if (this.#listener) {
      try {
        this.#listener(complete);
      } catch (error) {
        this.#host.uncaught(error);
      }
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
      this.#stop(new WebBftError('OVERFLOW', message, { outcome: 'executed' }));
    }
  }

  gap(): void {
    this.#gap = true;
  }

  /** It is over; nothing is left to be told to the replicas. Buffered events can still be taken. */
  end(error?: Error): void {
    if (this.#ended) return;
    this.#ended = { error };
    this.#rejectReady(error ?? new WebBftError('CLOSED', 'the subscription has ended'));
    this.#resolveClosed(error);
    for (const taker of this.#takers.splice(0)) {
      if (error) taker.reject(error);
      else taker.resolve({ done: true, value: undefined });
    }
  }

  /** Ends it with an error and tells the replicas. */
  #stop(error: Error): void {
    this.end(error);
    this.#host.unsubscribe().catch(() => {});
  }

  fail(error: Error): void {
    if (!this.#ended) this.#stop(error);
  }

  async unsubscribe(): Promise<void> {
    if (this.#ended) return;
    this.end();
    await this.#host.unsubscribe();
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
