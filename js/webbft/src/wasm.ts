import type { CoreModule } from './core.js';
import { WebBftError } from './errors.js';
import { instantiate } from './instance.js';
import type { WasmSource } from './types.js';

const MAGIC = [0x00, 0x61, 0x73, 0x6d];

const byUrl = new Map<string, Promise<WebAssembly.Module>>();
const byObject = new WeakMap<object, Promise<WebAssembly.Module>>();

/** An instance of the Wasm for one client. */
export async function loadWasm(source?: WasmSource): Promise<CoreModule> {
  const module = await compileWasm(source);
  try {
    return await instantiate(module);
  } catch (cause) {
    throw unloadable(cause);
  }
}

/**
 * Fetches and compiles the Wasm, once for each source and for all clients of the page; after a
 * failure the next call tries again.
 */
export function compileWasm(source?: WasmSource): Promise<WebAssembly.Module> {
  const found = source ?? new URL('../wasm/webbft_client_wasm_bg.wasm', import.meta.url);
  const key = found instanceof URL ? found.href : found;
  const known = typeof key === 'string' ? byUrl.get(key) : byObject.get(key);
  if (known) return known;
  const module = compile(found).catch((cause: unknown) => {
    if (typeof key === 'string') byUrl.delete(key);
    else byObject.delete(key);
    throw unloadable(cause);
  });
  if (typeof key === 'string') byUrl.set(key, module);
  else byObject.set(key, module);
  return module;
}

async function compile(source: WasmSource): Promise<WebAssembly.Module> {
  if ((globalThis as { WebAssembly?: unknown }).WebAssembly === undefined) {
    const hint = 'it may be turned off in the browser';
    throw new WebBftError('WASM_UNAVAILABLE', `this environment has no WebAssembly; ${hint}`);
  }
  const found = typeof source === 'string' ? new URL(source, globalThis.location?.href) : source;
  if (found instanceof URL) return fromUrl(found);
  if (found instanceof ArrayBuffer || ArrayBuffer.isView(found)) return fromBytes(found, 'wasm');
  const given: unknown = await found;
  if (given instanceof Response) return fromResponse(given);
  if (given instanceof WebAssembly.Module) return given;
  throw new Error('option `wasm` is neither a URL, nor a Response, a Module or bytes');
}

async function fromUrl(url: URL): Promise<WebAssembly.Module> {
  if (url.protocol !== 'file:') return fromResponse(await fetch(url));
  // Node cannot fetch files.
  const node = 'node:fs/promises';
  const { readFile } = await import(/* @vite-ignore */ /* webpackIgnore: true */ node);
  return fromBytes((await readFile(url)) as BufferSource, url.href);
}

async function fromResponse(response: Response): Promise<WebAssembly.Module> {
  const { url, status } = response;
  if (!response.ok) throw new Error(`${url} answers ${status}`);
  const type = response.headers.get('content-type') ?? '';
  if (type.startsWith('application/wasm')) return WebAssembly.compileStreaming(response);
  return fromBytes(await response.arrayBuffer(), `${url}, served as ${type || 'no type'},`);
}

function fromBytes(source: BufferSource, name: string): Promise<WebAssembly.Module> {
  const bytes = ArrayBuffer.isView(source)
    ? new Uint8Array(source.buffer, source.byteOffset, source.byteLength)
    : new Uint8Array(source);
  if (MAGIC.some((byte, index) => bytes[index] !== byte)) {
    const start = new TextDecoder().decode(bytes.subarray(0, 16));
    throw new Error(`${name} is no Wasm: it begins with ${JSON.stringify(start)}`);
  }
  return WebAssembly.compile(source);
}

function unloadable(cause: unknown): WebBftError {
  if (cause instanceof WebBftError) return cause;
  const hint = /csp|content security/i.test(String(cause))
    ? "; the page's Content-Security-Policy must allow 'wasm-unsafe-eval'"
    : '; option `wasm` says where it is';
  const message = `the WebBFT Wasm could not be loaded: ${cause}${hint}`;
  return new WebBftError('WASM_LOAD', message, { cause });
}
