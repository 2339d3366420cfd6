import init, { panicMessage, Core as WasmCore } from '../wasm/webbft_client_wasm.js';
import type { Core, CoreModule } from './core.js';
import { WebBftError } from './errors.js';
import { importInNode, inNode } from './node.js';
import { EffectSink } from './sink.js';
import type { WasmSource } from './types.js';

interface FileSystem {
  readFile(url: URL): Promise<BufferSource>;
}

let loaded: Promise<CoreModule> | undefined;

/** Loads the Wasm, once for all clients of the page; after a failure the next call tries again. */
export function loadWasm(source?: WasmSource): Promise<CoreModule> {
  loaded ??= load(source).catch((error: unknown) => {
    loaded = undefined;
    throw error;
  });
  return loaded;
}

async function load(source: WasmSource | undefined): Promise<CoreModule> {
  if (typeof WebAssembly !== 'object') {
    throw new WebBftError(
      'WASM_UNAVAILABLE',
      'this environment has no WebAssembly; the client cannot work without it',
    );
  }
  try {
    await init({ module_or_path: await compilable(source) });
  } catch (cause) {
    const refused = cause instanceof WebAssembly.CompileError || cause instanceof EvalError;
    const hint =
      refused && /csp|content.security|unsafe-eval/i.test(cause.message)
        ? "; the page's Content-Security-Policy must allow script-src 'wasm-unsafe-eval'"
        : '';
    throw new WebBftError('WASM_LOAD', `the WebBFT Wasm could not be loaded: ${cause}${hint}`, {
      cause,
    });
  }
  return {
    create: (view, secret, seed, options, now, unix) =>
      bind(new WasmCore(view, secret, seed, options, now, unix)),
    panicMessage,
  };
}

/** What WebAssembly can compile; fails with what is wrong where the source answers otherwise. */
async function compilable(source: WasmSource | undefined) {
  if (source === undefined) throw new Error('it was not said where the Wasm is');
  const url = typeof source === 'string' ? new URL(source, globalThis.location?.href) : source;
  if (!(url instanceof URL)) return checked(await url);
  // Node cannot fetch files.
  if (url.protocol === 'file:' && inNode()) {
    const { readFile } = (await importInNode('node:fs/promises')) as FileSystem;
    return readFile(url);
  }
  return checked(await fetch(url), url);
}

function checked<T>(source: T, url?: URL): T | Promise<ArrayBuffer> {
  if (typeof Response !== 'function' || !(source instanceof Response)) return source;
  const name = url ?? (source.url || 'the response');
  if (!source.ok) {
    throw new Error(
      `${name} answers ${source.status}; serve the package's .wasm file there, or name its place in the option wasm`,
    );
  }
  const type = source.headers.get('content-type') ?? '';
  if (/html/i.test(type)) {
    throw new Error(
      `${name} is a page of HTML, not Wasm; serve the package's .wasm file there, or name its place in the option wasm`,
    );
  }
  // Only what calls itself Wasm can be compiled while it arrives.
  return type.startsWith('application/wasm') ? source : source.arrayBuffer();
}

/** The Wasm's class with effects as objects. */
function bind(core: WasmCore): Core {
  const sink = new EffectSink();
  return {
    get clientId() {
      return core.clientId;
    },
    start: () => core.start(),
    advance: (now, unix) => core.advance(now, unix),
    nextDeadline: () => core.nextDeadline(),
    socketOpened: (replica) => core.socketOpened(replica),
    socketMessage: (replica, bytes) => core.socketMessage(replica, bytes),
    socketClosed: (replica) => core.socketClosed(replica),
    networkChanged: () => core.networkChanged(),
    invoke: (payload, timeout) => core.invoke(payload, timeout),
    query: (payload, timeout) => core.query(payload, timeout),
    subscribe: (topic) => core.subscribe(topic),
    unsubscribe: (subscription) => core.unsubscribe(subscription),
    cancel: (call) => core.cancel(call),
    close: () => core.close(),
    poll: () => (core.poll(sink) ? sink.take() : undefined),
    status: () => {
      core.status(sink);
      return sink.takeStatus();
    },
    free: () => core.free(),
  };
}
