import type { CoreModule } from './core.js';
import { WebBftError } from './errors.js';
import { instantiate } from './instance.js';
import { importInNode, inNode } from './node.js';
import type { WasmSource } from './types.js';

interface FileSystem {
  readFile(url: URL): Promise<BufferSource>;
}

type Modules = Pick<Map<unknown, Promise<WebAssembly.Module>>, 'get' | 'set' | 'delete'>;

const byAddress: Modules = new Map();
const byObject = new WeakMap() as unknown as Modules;

/** An instance of the Wasm for one client. */
export async function loadWasm(source: WasmSource): Promise<CoreModule> {
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
export function compileWasm(source: WasmSource): Promise<WebAssembly.Module> {
  const key = source instanceof URL ? source.href : source;
  const compiled = typeof key === 'string' ? byAddress : byObject;
  const known = compiled.get(key);
  if (known) return known;
  const module = compile(source).catch((cause: unknown) => {
    compiled.delete(key);
    throw unloadable(cause);
  });
  compiled.set(key, module);
  return module;
}

async function compile(source: WasmSource): Promise<WebAssembly.Module> {
  if ((globalThis as { WebAssembly?: unknown }).WebAssembly === undefined) {
    throw new WebBftError('WASM_UNAVAILABLE', 'this environment has no WebAssembly');
  }
  const given = await compilable(source);
  if (given instanceof Response) return WebAssembly.compileStreaming(given);
  return given instanceof WebAssembly.Module ? given : WebAssembly.compile(given as BufferSource);
}

/** What WebAssembly can compile; fails with what is wrong where the source answers otherwise. */
async function compilable(source: WasmSource): Promise<unknown> {
  const url = typeof source === 'string' ? new URL(source, globalThis.location?.href) : source;
  if (!(url instanceof URL)) return checked(await url);
  // Node cannot fetch files.
  if (url.protocol === 'file:' && inNode()) {
    const { readFile } = (await importInNode('node:fs/promises')) as FileSystem;
    return readFile(url);
  }
  return checked(await fetch(url), url);
}

function checked(source: unknown, url?: URL): unknown {
  if (!(source instanceof Response)) return source;
  const name = url ?? (source.url || 'the response');
  const remedy = "serve the package's .wasm file there, or name its place in the option wasm";
  if (!source.ok) throw new Error(`${name} answers ${source.status}; ${remedy}`);
  const type = source.headers.get('content-type') ?? '';
  if (/html/i.test(type)) throw new Error(`${name} is a page of HTML, not Wasm; ${remedy}`);
  // Only what calls itself Wasm can be compiled while it arrives.
  return type.startsWith('application/wasm') ? source : source.arrayBuffer();
}

function unloadable(cause: unknown): WebBftError {
  if (cause instanceof WebBftError) return cause;
  const refused = cause instanceof WebAssembly.CompileError || cause instanceof EvalError;
  const hint =
    refused && /csp|content.security|unsafe-eval/i.test(cause.message)
      ? "; the page's Content-Security-Policy must allow script-src 'wasm-unsafe-eval'"
      : '';
  const message = `the WebBFT Wasm could not be loaded: ${cause}${hint}`;
  return new WebBftError('WASM_LOAD', message, { cause });
}
