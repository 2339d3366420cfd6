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

/** The Wasm's class with effects as objects. */
function bind(core: WasmCore): Core {
  const sink = new EffectSink();
  const poll = core.poll.bind(core);
  const status = core.status.bind(core);
  return Object.assign(core, {
    poll: () => (poll(sink) ? sink.take() : undefined),
    status: () => {
      status(sink);
      return sink.takeStatus();
    },
  });
}
