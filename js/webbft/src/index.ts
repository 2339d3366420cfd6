import { WebBftClient } from './client.js';
import type { Client, Options, Service, WasmSource } from './types.js';
import { loadWasm } from './wasm.js';

export { type Code, type Outcome, WebBftError } from './errors.js';
export type { WebSocketConstructor, WebSocketLike } from './transport/websocket.js';
export type * from './types.js';

/**
 * A client of a replicated service. Synchronous, and safe where pages are rendered on a server:
 * no Wasm, socket or timer before `connect()` or the first call.
 */
export function createClient<S extends Service = Service>(options: Options): Client<S> {
  return new WebBftClient<S>(options, loadWasm);
}

/** Loads the Wasm ahead of the first `connect()`. */
export async function preload(wasm?: WasmSource): Promise<void> {
  await loadWasm(wasm);
}
