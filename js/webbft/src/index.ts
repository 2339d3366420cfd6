import { WebBftClient } from './client.js';
import type { Client, Options, Service, WasmSource } from './types.js';
import { compileWasm, loadWasm } from './wasm.js';

export { bytes, type Codec, json } from './codec.js';
export { type Code, type ErrorInit, type Outcome, WebBftError } from './errors.js';
export type { TransportKind } from './transport/auto.js';
export type { WebSocketConstructor, WebSocketLike } from './transport/websocket.js';
export type * from './types.js';

/**
 * A client of a replicated service. Synchronous, and safe where pages are rendered on a server:
 * no Wasm, socket or timer before `connect()` or the first call.
 */
export function createClient<S extends Service = Service>(options: Options<S>): Client<S> {
  return new WebBftClient<S>(options, (wasm) => loadWasm(wasm ?? beside()));
}

/**
 * Fetches and compiles the Wasm ahead of the first `connect()`. The module may be handed on, to a
 * worker or as the option `wasm`.
 */
export function preload(wasm?: WasmSource): Promise<WebAssembly.Module> {
  return compileWasm(wasm ?? beside());
}

/** The file of this package. Bundlers know this form, and copy what it names. */
function beside(): URL {
  return new URL('../wasm/webbft_client_wasm_bg.wasm', import.meta.url);
}
