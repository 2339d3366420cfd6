import type { Code, Outcome } from './errors.js';
import type { Status, SuspectReason, View } from './types.js';

/** Votes as the Wasm gives them. */
export interface CoreEvidence {
  readonly viewId: number;
  readonly needed: number;
  readonly matching: readonly number[];
  readonly differing: readonly number[];
  readonly silent: readonly number[];
  readonly cid?: number;
}

/** What the Wasm wants done or told. Replicas of the first three are positions, then ids. */
export type Effect =
  | { readonly type: 'open' | 'close'; readonly replica: number }
  | { readonly type: 'send'; readonly replica: number; readonly bytes: Uint8Array<ArrayBuffer> }
  | {
      readonly type: 'completed';
      readonly call: number;
      readonly result: Uint8Array;
      readonly evidence: CoreEvidence;
    }
  | {
      readonly type: 'failed';
      readonly call: number;
      readonly code: Code;
      readonly message: string;
      readonly outcome: Outcome;
      readonly evidence: CoreEvidence;
    }
  | {
      readonly type: 'votes';
      readonly call: number;
      /** Of an event of the subscription `call`. */
      readonly number?: number;
      readonly evidence: CoreEvidence;
    }
  | {
      readonly type: 'subscribed';
      readonly call: number;
      readonly next: number;
      readonly evidence: CoreEvidence;
    }
  | {
      readonly type: 'event';
      readonly call: number;
      readonly number: number;
      readonly payload: Uint8Array;
      readonly evidence: CoreEvidence;
    }
  | {
      readonly type: 'gap';
      readonly call: number;
      readonly missedFrom: number;
      readonly next: number;
    }
  | {
      readonly type: 'suspect';
      readonly replica: number;
      readonly reason: SuspectReason;
      readonly call?: number;
    }
  | { readonly type: 'status' };

/** Times in milliseconds. */
export interface CoreOptions {
  readonly callTimeout?: number | undefined;
  readonly readTimeout?: number | undefined;
  readonly backoffMin?: number | undefined;
  readonly backoffMax?: number | undefined;
  readonly maxPending?: number | undefined;
}

/** What client-wasm exports, with effects as objects. `client-wasm/src/lib.rs` says what it does. */
export interface Core {
  readonly clientId: string;
  start(): void;
  advance(now: number, unix: number): void;
  nextDeadline(): number | undefined;
  socketOpened(replica: number): void;
  socketMessage(replica: number, bytes: Uint8Array): void;
  socketClosed(replica: number): void;
  networkChanged(): void;
  invoke(payload: Uint8Array, timeout?: number): number;
  query(payload: Uint8Array, timeout?: number): number;
  subscribe(topic: string): number;
  unsubscribe(subscription: number): number;
  cancel(call: number): void;
  close(): void;
  poll(): Effect | undefined;
  status(): Status;
  free(): void;
}

/** A loaded Wasm module. */
export interface CoreModule {
  create(
    view: View,
    secret: Uint8Array,
    seed: Uint8Array,
    options: CoreOptions,
    now: number,
    unix: number,
  ): Core;
  /** The message of the panic that ended the module, if one did. */
  panicMessage(): string | undefined;
}
