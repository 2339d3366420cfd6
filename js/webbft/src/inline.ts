// The same as `webbft`, with the Wasm inside the JavaScript: nothing else is fetched.
import { WebBftClient } from './client.js';
import { WebBftError } from './errors.js';
import compressed from './inline-wasm.js';
import type { Client, Options, Service, WasmSource } from './types.js';
import { compileWasm, loadWasm } from './wasm.js';

export { bytes, type Codec, json } from './codec.js';
export { type Code, type ErrorInit, type Outcome, WebBftError } from './errors.js';
export type { TransportKind } from './transport/auto.js';
export type { WebSocketConstructor, WebSocketLike } from './transport/websocket.js';
export type * from './types.js';

let inflated: Promise<ArrayBuffer> | undefined;

/**
 * A client of a replicated service. Synchronous, and safe where pages are rendered on a server:
 * no Wasm, socket or timer before `connect()` or the first call.
 */
export function createClient<S extends Service = Service>(options: Options<S>): Client<S> {
  return new WebBftClient<S>(options, async (wasm) => loadWasm(wasm ?? (await inside())));
}

/**
 * Compiles the Wasm ahead of the first `connect()`. The module may be handed on, to a worker or as
 * the option `wasm`.
 */
export async function preload(wasm?: WasmSource): Promise<WebAssembly.Module> {
  return compileWasm(wasm ?? (await inside()));
}

/** The Wasm of this module: always the same bytes, so that they are compiled once. */
function inside(): Promise<ArrayBuffer> {
  inflated ??= inflate().catch((cause: unknown) => {
    throw new WebBftError('WASM_LOAD', `the WebBFT Wasm could not be decompressed: ${cause}`, {
      cause,
    });
  });
  return inflated;
}

async function inflate(): Promise<ArrayBuffer> {
  const bytes = Uint8Array.from(atob(compressed), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Response(stream).arrayBuffer();
}
