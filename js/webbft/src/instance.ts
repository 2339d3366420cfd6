import { glue, type Sink, type Core as WasmCore } from '../wasm/webbft_client_wasm.js';
import type { Core, CoreModule, Told } from './core.js';
import { statusOf } from './sink.js';

/** An instance of the Wasm, with memory of its own: a panic in it ends no other. */
export async function instantiate(module: WebAssembly.Module): Promise<CoreModule> {
  const instance = glue();
  await instance(module);
  return {
    create: (view, secret, seed, options, now, unix) =>
      bind(new instance.Core(view, secret, seed, options, now, unix)),
    panicMessage: instance.panicMessage,
  };
}

/** The Wasm's object, whose calls of a sink are recorded: they must not call it in return. */
function bind(core: WasmCore): Core {
  let told: Told[] = [];
  const record =
    (_: unknown, name: string) =>
    (...args: unknown[]) =>
      told.push([name, args]);
  const sink = new Proxy({}, { get: record as never }) as Sink;
  const { poll, status } = core;
  const recorded = (tell: (sink: Sink) => unknown) => {
    told = [];
    tell.call(core, sink);
    return told;
  };
  return Object.assign(core, {
    poll: () => recorded(poll),
    status: () => statusOf(recorded(status)),
  });
}
