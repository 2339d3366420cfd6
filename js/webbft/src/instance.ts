import { glue, type Core as WasmCore } from '../wasm/webbft_client_wasm.js';
import type { Core, CoreModule } from './core.js';
import { EffectSink } from './sink.js';

/** An instance of the Wasm, with memory of its own: a panic in it ends no other. */
export async function instantiate(module: WebAssembly.Module): Promise<CoreModule> {
  const instance = glue();
  await instance({ module_or_path: module });
  return {
    create: (view, secret, seed, options, now, unix) =>
      bind(new instance.Core(view, secret, seed, options, now, unix)),
    panicMessage: instance.panicMessage,
  };
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
