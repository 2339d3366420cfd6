import type { Sink } from '../wasm/webbft_client_wasm.js';
import type { Status, View } from './types.js';

/** What the Wasm wants done, and what it tells besides its status. */
export type Effects = Omit<Sink, 'status' | 'replica' | 'suspicion'>;

/** One call of a method of a `Sink`: its name and arguments. */
export type Told = readonly [name: string, args: unknown[]];

/** Makes the calls that were recorded. */
export function replay(told: readonly Told[], sink: Partial<Sink>): void {
  for (const [name, args] of told) {
    (sink as Record<string, ((...args: unknown[]) => void) | undefined>)[name]?.(...args);
  }
}

/** Times in milliseconds. */
export interface CoreOptions {
  readonly callTimeout?: number | undefined;
  readonly readTimeout?: number | undefined;
  readonly backoffMin?: number | undefined;
  readonly backoffMax?: number | undefined;
  readonly maxPending?: number | undefined;
}

/** What client-wasm exports, with what it tells as values. `client-wasm/src/lib.rs` says what it does. */
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
  /** The next thing to be done or told, as calls of `Effects`; nothing when there is none. */
  poll(): Told[];
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
