// The same as `webbft`, with the Wasm inside the JavaScript: nothing else is fetched.
import { WebBftClient } from './client.js';
import compressed from './inline-wasm.js';
import type { Client, Options, Service, WasmSource } from './types.js';
import { compileWasm, loadWasm } from './wasm.js';

export { type Code, type ErrorInit, type Outcome, WebBftError } from './errors.js';
export type { WebSocketConstructor, WebSocketLike } from './transport/websocket.js';
export type * from './types.js';

/**
 * A client of a replicated service. Synchronous, and safe where pages are rendered on a server:
 * no Wasm, socket or timer before `connect()` or the first call.
 */
export function createClient<S extends Service = Service>(options: Options): Client<S> {
  return new WebBftClient<S>(options, (wasm) => loadWasm(wasm ?? inside()));
}

/**
 * Compiles the Wasm ahead of the first `connect()`. The module may be handed on, to a worker or as
 * the option `wasm`.
 */
export function preload(wasm?: WasmSource): Promise<WebAssembly.Module> {
  return compileWasm(wasm ?? inside());
}

let unpacked: Promise<Response> | undefined;

/** The same promise each time, so that it is compiled once. */
function inside(): Promise<Response> {
  unpacked ??= unpack();
  return unpacked;
}

async function unpack(): Promise<Response> {
  const bytes = Uint8Array.from(atob(compressed), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Response(stream, { headers: { 'content-type': 'application/wasm' } });
}
