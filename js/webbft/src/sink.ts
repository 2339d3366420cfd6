import { replay, type Told } from './core.js';
import type { Phase, Refusal, Replica, Status, SuspectReason } from './types.js';

/** The status that the Wasm tells, member by member. */
export function statusOf(told: readonly Told[]): Status {
  const replicas: Replica[] = [];
  let status: Status | undefined;
  replay(told, {
    status(phase, viewId, n, f, connected, needed) {
      status = { phase: phase as Phase, viewId, n, f, connected, needed, pending: 0, replicas };
    },
    replica(id, url, state, rttMs, retryAt, refused, refusal) {
      replicas.push({
        id,
        url,
        state: state as Replica['state'],
        ...(rttMs !== undefined && { rttMs }),
        ...(retryAt !== undefined && { retryAt }),
        ...(refusal && { refused, refusal: refusal as Refusal }),
      });
    },
    suspicion(reason, count, last) {
      const suspect = { reason: reason as SuspectReason, count, last };
      replicas.push({ ...(replicas.pop() as Replica), suspect });
    },
  });
  // The Wasm tells it whenever it is asked.
  return status as unknown as Status;
}
