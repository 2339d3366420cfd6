import { WebBftError } from './errors.js';
import { importInNode, inNode } from './node.js';
import type { FromWorker, ToWorker } from './worker-messages.js';

/** The worker as its page sees it. */
export interface Port {
  post(message: ToWorker): void;
  terminate(): void;
}

export interface PortHandlers {
  message(message: FromWorker): void;
  /** The worker could not be started, or threw what nobody caught. */
  failed(reason: unknown): void;
}

/** What is needed of a worker that the caller supplies. */
export type WorkerLike = Pick<Worker, 'postMessage' | 'terminate' | 'addEventListener'>;

/** Node's `Worker`, as far as it is needed. */
interface NodeWorker {
  postMessage(message: unknown): void;
  terminate(): Promise<unknown>;
  on(event: 'message' | 'error', handler: (value: never) => void): void;
}

/** Starts a worker with the client's script in it. */
export function openPort(make: (() => WorkerLike) | undefined, handlers: PortHandlers): Port {
  if (make) return portOf(make(), handlers);
  if (typeof Worker === 'function') {
    // Bundlers know this form, and make a file of the script and all it imports.
    const worker = new Worker(new URL('./worker-script.js', import.meta.url), {
      type: 'module',
      name: 'webbft',
    });
    return portOf(worker, handlers);
  }
  if (inNode()) return nodePort(handlers);
  throw new WebBftError('INPUT', 'there are no workers here; import webbft instead');
}

function portOf(worker: WorkerLike, handlers: PortHandlers): Port {
  worker.addEventListener('message', (event) => handlers.message((event as MessageEvent).data));
  worker.addEventListener('error', (event) => {
    event.preventDefault();
    handlers.failed((event as ErrorEvent).message || 'its script could not be loaded');
  });
  worker.addEventListener('messageerror', () => handlers.failed('a message could not be read'));
  return {
    post: (message) => worker.postMessage(message),
    terminate: () => worker.terminate(),
  };
}

/** Node names its workers by a module, which is only imported where it is needed. */
function nodePort(handlers: PortHandlers): Port {
  const script = new URL('./worker-script.js', import.meta.url);
  const started = importInNode('node:worker_threads').then((threads) => {
    const { Worker: Thread } = threads as { Worker: new (script: URL) => NodeWorker };
    const worker = new Thread(script);
    worker.on('message', handlers.message);
    worker.on('error', handlers.failed);
    return worker;
  });
  started.catch(handlers.failed);
  const use = (action: (worker: NodeWorker) => void) => {
    started.then(action, () => {});
  };
  return {
    post: (message) => use((worker) => worker.postMessage(message)),
    terminate: () => use((worker) => void worker.terminate()),
  };
}
