import { glue, type Core as WasmCore } from '../wasm/webbft_client_wasm.js';
import type { Core, CoreModule } from './core.js';
import { EffectSink } from './sink.js';

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

/** The Wasm's object, giving effects and the status as objects. */
function bind(core: WasmCore): Core {
  const sink = new EffectSink();
  const { poll, status } = core;
  return Object.assign(core, {
    poll: () => (poll.call(core, sink) ? sink.take() : undefined),
    status: () => {
      status.call(core, sink);
      return sink.takeStatus();
    },
  });
}
