// The same API as `webbft`, with the client in a worker: protocol and cryptography are off the page.
import type { Client, Service } from './types.js';
import { WorkerClient, type WorkerOptions } from './worker-client.js';

export { bytes, type Codec, json } from './codec.js';
export { type Code, type ErrorInit, type Outcome, WebBftError } from './errors.js';
export type * from './types.js';
export type { WorkerOptions } from './worker-client.js';
export type { WorkerLike } from './worker-port.js';

/**
 * A client of a replicated service, in a worker of its own. Synchronous, and safe where pages are
 * rendered on a server: no worker, Wasm, socket or timer before `connect()` or the first call.
 */
export function createClient<S extends Service = Service>(options: WorkerOptions<S>): Client<S> {
  return new WorkerClient<S>(options);
}
