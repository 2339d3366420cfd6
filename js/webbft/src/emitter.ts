import type { ClientEvent } from './types.js';

type Listener = (event: never) => void;

/** Listeners by type of event. One that throws does not keep the others from being called. */
export class Emitter {
  readonly #listeners = new Map<string, Set<Listener>>();

  on<T extends ClientEvent['type']>(
    type: T,
    listener: (event: Extract<ClientEvent, { type: T }>) => void,
    signal?: AbortSignal,
  ): () => void {
    if (signal?.aborted) return () => {};
    // An entry of its own, so that the same function may be added twice.
    const entry: Listener = (event) => listener(event);
    const listeners = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, listeners.add(entry));
    const off = () => {
      listeners.delete(entry);
      signal?.removeEventListener('abort', off);
    };
    signal?.addEventListener('abort', off);
    return off;
  }

  emit(event: ClientEvent): void {
    for (const listener of [...(this.#listeners.get(event.type) ?? [])]) {
      guarded(() => listener(event as never));
    }
  }
}

/** Calls a function of the application, whose error is none of ours. */
export function guarded(call: () => unknown): void {
  try {
    call();
  } catch (error) {
    uncaught(error);
  }
}

/** An error of the application's own function, for the page's `error` event or Node's handler. */
export function uncaught(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}
