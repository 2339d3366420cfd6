import init, { panicMessage, Core as WasmCore } from '../wasm/webbft_client_wasm.js';
import type { Core, CoreModule } from './core.js';
import { WebBftError } from './errors.js';
import { EffectSink } from './sink.js';
import type { WasmSource } from './types.js';

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
    throw new WebBftError('WASM_UNAVAILABLE', 'this environment has no WebAssembly');
  }
  try {
    await init({ module_or_path: await resolve(source) });
  } catch (cause) {
    const hint =
      cause instanceof WebAssembly.CompileError && /csp|content security/i.test(cause.message)
        ? "; the page's Content-Security-Policy must allow 'wasm-unsafe-eval'"
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

async function resolve(source: WasmSource | undefined) {
  const found = source ?? new URL('../wasm/webbft_client_wasm_bg.wasm', import.meta.url);
  const url = typeof found === 'string' ? new URL(found, globalThis.location?.href) : found;
  if (!(url instanceof URL)) return url;
  // Node cannot fetch files.
  if (url.protocol === 'file:') {
    const node = 'node:fs/promises';
    const { readFile } = await import(/* @vite-ignore */ /* webpackIgnore: true */ node);
    return readFile(url) as Promise<BufferSource>;
  }
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} answers ${response.status}`);
  return response;
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
