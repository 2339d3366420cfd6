// esbuild does not follow addresses in `new URL`: the page says where Wasm and worker are.
import { createClient } from 'webbft';
import { createClient as createInline } from 'webbft/inline';
import wasm from 'webbft/wasm';
import { createClient as createInWorker } from 'webbft/worker';
import { use } from '../use.js';

async function run() {
  const address = new URLSearchParams(location.search).get('view');
  const view = await (await fetch(address)).json();
  const worker = () => new Worker('./worker.js', { type: 'module' });
  return {
    beside: await use(createClient, view, { wasm }),
    inline: await use(createInline, view),
    worker: await use(createInWorker, view, { wasm, worker }),
  };
}

run().then(
  (result) => {
    globalThis.outcome = { result };
  },
  (error) => {
    globalThis.outcome = { error: `${error.stack ?? error}` };
  },
);
