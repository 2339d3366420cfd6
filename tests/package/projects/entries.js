// A page that uses the three entries of the package; the test reads `outcome`.
import { createClient } from 'webbft';
import { createClient as createInline } from 'webbft/inline';
import { createClient as createInWorker } from 'webbft/worker';
import { use } from './use.js';

async function run() {
  const address = new URLSearchParams(location.search).get('view');
  const view = await (await fetch(address)).json();
  return {
    beside: await use(createClient, view),
    inline: await use(createInline, view),
    worker: await use(createInWorker, () => Promise.resolve(view)),
  };
}

export function start() {
  run().then(
    (result) => {
      globalThis.outcome = { result };
    },
    (error) => {
      globalThis.outcome = { error: `${error.stack ?? error}` };
    },
  );
}
