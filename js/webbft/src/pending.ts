import type { Core } from './core.js';
import { WebBftError } from './errors.js';
import type { Evidence } from './types.js';

/** A call that subscribes, and receives what its subscription brings. */
export interface Feed extends Pending {
  readonly topic: string;
  event(number: bigint, payload: Uint8Array, evidence: Evidence): void;
  gap(missedFrom: bigint, next: bigint): void;
  /** It is over, though nobody unsubscribed. */
  ended(error: WebBftError): void;
}

/** A call that is not settled. */
export interface Pending {
  readonly id: string;
  /** Where it subscribes: what its events go to. */
  readonly feed?: Feed;
  /**
   * May it be begun again with the replicas of another view: always, while it has not been sent,
   * or not at all because it has no meaning there?
   */
  readonly again: 'always' | 'unsent' | 'never';
  /** Hands it to the core; gives the core's id for it. */
  begin(core: Core): number;
  /** `next` is the number of the first event, where it subscribes. */
  completed(result: Uint8Array, evidence: Evidence, next?: bigint): void;
  failed(error: WebBftError): void;
}

interface Queued {
  readonly pending: Pending;
  readonly timer: ReturnType<typeof setTimeout> | undefined;
}

/** Calls made while there is no core to hand them to, in order. */
export class Queue {
  readonly #max: number;
  readonly #calls = new Map<string, Queued>();

  constructor(max: number) {
    this.#max = max;
  }

  get size(): number {
    return this.#calls.size;
  }

  /** Keeps a call, for `timeoutMs` at most. */
  add(pending: Pending, timeoutMs: number | undefined): void {
    if (this.#calls.size >= this.#max) {
      const message = `${this.#max} calls are pending already; wait for some of them to finish`;
      pending.failed(new WebBftError('QUEUE_FULL', message));
      return;
    }
    const expire = () => {
      this.remove(pending.id);
      pending.failed(new WebBftError('TIMEOUT', 'the client was not loaded in time'));
    };
    const timer = timeoutMs === undefined ? undefined : setTimeout(expire, timeoutMs);
    this.#calls.set(pending.id, { pending, timer });
  }

  /** Takes one call out, if it is there. */
  remove(id: string): Pending | undefined {
    const queued = this.#calls.get(id);
    clearTimeout(queued?.timer);
    this.#calls.delete(id);
    return queued?.pending;
  }

  /** Takes all calls out. */
  drain(): Pending[] {
    return [...this.#calls.keys()].flatMap((id) => this.remove(id) ?? []);
  }
}
