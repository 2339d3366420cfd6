import { decodePayload } from './call.js';
import type { Codec } from './codec.js';
import type { Outcome, WebBftError } from './errors.js';
import type { Feed, Pending } from './pending.js';
import { EventStream } from './subscription.js';
import type { ClientEvent, Evidence, Message, SubscribeOptions, Subscription } from './types.js';

/** What topics need of their client. */
export interface TopicsHost {
  nextId(): string;
  emit(event: ClientEvent): void;
  /** How the payloads of a topic are encoded, where not as JSON. */
  codec(topic: string): Codec<unknown> | undefined;
  submit(pending: Pending): void;
  /**
   * Takes back a call to subscribe, or else stops its events; gives the core's id of a
   * subscription that the replicas are still to be told of.
   */
  release(pending: Pending): number | undefined;
}

/** The subscriptions of a client: one with the replicas for each topic, however many listen. */
export class Topics {
  readonly #host: TopicsHost;
  readonly #topics = new Map<string, Topic>();
  /** Topics that the replicas are being told to end. */
  readonly #leaving = new Map<string, Promise<void>>();

  constructor(host: TopicsHost) {
    this.#host = host;
  }

  subscribe<T>(
    name: string,
    listener: ((message: Message<T>) => void) | undefined,
    options: SubscribeOptions,
  ): Subscription<T> {
    const stream = new EventStream<T>(listener, options, (stream) => this.#leave(name, stream));
    if (!stream.ended) this.#join(name, stream);
    return stream;
  }

  // biome-ignore lint/suspicious/noExplicitAny: each topic has a type of its own
  #join(name: string, stream: EventStream<any>): void {
    const known = this.#topics.get(name);
    if (known) {
      known.join(stream);
      return;
    }
    const topic = new Topic(name, this.#host, () => this.#forget(topic));
    this.#topics.set(name, topic);
    topic.join(stream);
    const leaving = this.#leaving.get(name);
    if (leaving) leaving.then(() => this.#topics.get(name) === topic && this.#host.submit(topic));
    else this.#host.submit(topic);
  }

  // biome-ignore lint/suspicious/noExplicitAny: as above
  #leave(name: string, stream: EventStream<any>): Promise<void> {
    const topic = this.#topics.get(name);
    if (!topic?.leave(stream)) return Promise.resolve();
    this.#topics.delete(name);
    const subscription = this.#host.release(topic);
    if (subscription === undefined) return Promise.resolve();
    const told = this.#tell(subscription);
    const over = told.catch(() => {}).then(() => void this.#leaving.delete(name));
    this.#leaving.set(name, over);
    return told;
  }

  #tell(subscription: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#host.submit({
        id: this.#host.nextId(),
        again: 'never',
        begin: (core) => core.unsubscribe(subscription),
        completed: () => resolve(),
        failed: (error) =>
          // It is over already, or goes with the client or the view.
          ['INPUT', 'CLOSED', 'VIEW'].includes(error.code) ? resolve() : reject(error),
      });
    });
  }

  #forget(topic: Topic): void {
    if (this.#topics.get(topic.topic) === topic) this.#topics.delete(topic.topic);
  }
}

/** One topic: the call that subscribes to it, and what its events go to. */
class Topic implements Feed {
  readonly id: string;
  readonly topic: string;
  readonly again = 'always';
  readonly #host: TopicsHost;
  readonly #over: () => void;
  // biome-ignore lint/suspicious/noExplicitAny: as above
  readonly #streams = new Set<EventStream<any>>();
  #outcome: Outcome = 'not-sent';
  /** The number of the latest event. */
  #last: bigint | undefined;

  constructor(topic: string, host: TopicsHost, over: () => void) {
    this.id = host.nextId();
    this.topic = topic;
    this.#host = host;
    this.#over = over;
  }

  get feed(): Feed {
    return this;
  }

  // biome-ignore lint/suspicious/noExplicitAny: as above
  join(stream: EventStream<any>): void {
    this.#streams.add(stream);
    if (this.#outcome === 'executed') stream.begin();
    else stream.outcome = this.#outcome;
  }

  /** Was it the last one? */
  // biome-ignore lint/suspicious/noExplicitAny: as above
  leave(stream: EventStream<any>): boolean {
    return this.#streams.delete(stream) && this.#streams.size === 0;
  }

  begin(core: { subscribe(topic: string): number }): number {
    const call = core.subscribe(this.topic);
    // Anew in another view: then it was executed before.
    if (this.#outcome === 'not-sent') {
      this.#outcome = 'unknown';
      for (const stream of this.#streams) stream.outcome = this.#outcome;
    }
    return call;
  }

  completed(_: Uint8Array, __: Evidence, next?: bigint): void {
    // Subscribed to anew in another view: events in between are missed.
    if (next !== undefined && this.#last !== undefined && next > this.#last + 1n) {
      this.gap(this.#last + 1n, next);
    }
    this.#outcome = 'executed';
    for (const stream of this.#streams) stream.begin();
  }

  failed(error: WebBftError): void {
    this.ended(error);
  }

  event(number: bigint, payload: Uint8Array, evidence: Evidence): void {
    const streams = [...this.#streams];
    this.#last = number;
    try {
      const codec = this.#host.codec(this.topic);
      const value = decodePayload(payload, evidence, codec);
      for (const stream of streams) stream.deliver({ value, number, evidence });
    } catch (error) {
      for (const stream of streams) stream.fail(error as WebBftError);
    }
  }

  gap(missedFrom: bigint, next: bigint): void {
    for (const stream of this.#streams) stream.gap();
    this.#host.emit({ type: 'gap', event: this.topic, missedFrom, next });
  }

  ended(error: WebBftError): void {
    this.#over();
    // One that ends because the client was closed ends well.
    const why = error.code === 'CLOSED' ? undefined : error;
    for (const stream of [...this.#streams]) stream.end(why);
    this.#streams.clear();
  }
}
