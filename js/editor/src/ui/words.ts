/** What the page says. */

import type { Evidence, Replica } from 'webbft';
import { isClientError } from '../errors.ts';

/** How a replica voted on an edit. */
export type Vote = 'matched' | 'differed' | 'silent' | 'unawaited' | 'none';

/**
 * How `replica` voted. Events are delivered on the first f+1 equal messages, and no votes are
 * reported after that, so that a replica which is missing there need not have been `silent`.
 */
export function voteOf(replica: number, evidence: Evidence | null, own: boolean): Vote {
  if (evidence?.matching.includes(replica)) return 'matched';
  if (evidence?.differing.includes(replica)) return 'differed';
  if (evidence?.silent.includes(replica)) return own ? 'silent' : 'unawaited';
  return 'none';
}

export const VOTE_WORDS: Record<Vote, string> = {
  matched: 'matched',
  differed: 'differed',
  silent: 'silent',
  unawaited: 'not awaited',
  none: 'no vote',
};

export const VOTE_HINTS: Record<Vote, string> = {
  matched: 'Gave the same answer as the quorum',
  differed: 'Gave another answer than the quorum',
  silent: 'Has not answered',
  unawaited: 'Enough replicas had agreed before its message came',
  none: 'No edit has been confirmed since the page was opened',
};

export function replicaState(replica: Replica): string {
  switch (replica.state) {
    case 'open':
      return 'connected';
    case 'connecting':
      return 'connecting';
    case 'waiting':
      return 'unreachable';
    case 'closed':
      return 'closed';
  }
}

/** Why a replica is a suspect, in a sentence. */
export function suspicion({ reason, count }: NonNullable<Replica['suspect']>): string {
  const times = count === 1 ? 'once' : `${count} times`;
  switch (reason) {
    case 'divergent':
      return `Contradicted the quorum ${times}`;
    case 'bad-auth':
      return `Sent messages that fail authentication, ${times}`;
    case 'silent':
      return `Did not answer in time, ${times}`;
    case 'protocol':
      return `Broke the protocol ${times}`;
    default:
      return `Misbehaved ${times} (${reason})`;
  }
}

/** `host:port` of a replica's URL; the URL itself when it is none. */
export function hostOf(url: string): string {
  try {
    return new URL(url).host || url;
  } catch {
    return url;
  }
}

export function milliseconds(ms: number): string {
  if (ms >= 10_000) return `${Math.round(ms / 1000)} s`;
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
}

/** Why the page stopped, and what to do. */
export function failure(error: unknown): string {
  const reload = 'Copy what you need, then reload the page.';
  if (!isClientError(error)) {
    return `The page stopped: ${error instanceof Error ? error.message : String(error)}. ${reload}`;
  }
  switch (error.code) {
    case 'WASM_UNAVAILABLE':
      return 'This browser does not run WebAssembly, which this page needs to vote on replies.';
    case 'WASM_LOAD':
      return 'The WebAssembly part of this page could not be loaded. Reload the page.';
    case 'VIEW':
      return `The page was given a list of replicas that is not valid: ${error.message}. Tell whoever runs the service.`;
    case 'WASM_CRASH':
      return `The WebAssembly part of this page crashed. ${reload}`;
    default:
      return `The page stopped: ${error.message}. ${reload}`;
  }
}
