/** What the page says. */

import type { Evidence, Replica } from 'webbft';
import type { Process } from '../demo.ts';
import { isClientError } from '../errors.ts';
import type { Report } from '../reports.ts';

/** How a replica voted on an edit. */
export type Vote = 'matched' | 'differed' | 'silent' | 'none';

export function voteOf(replica: number, evidence: Evidence | null): Vote {
  if (evidence?.matching.includes(replica)) return 'matched';
  if (evidence?.differing.includes(replica)) return 'differed';
  if (evidence?.silent.includes(replica)) return 'silent';
  return 'none';
}

export const VOTE_WORDS: Record<Vote, string> = {
  matched: 'matched',
  differed: 'differed',
  silent: 'silent so far',
  none: 'no vote',
};

export const VOTE_HINTS: Record<Vote, string> = {
  matched: 'Said the same as the quorum',
  differed: 'Said something else than the quorum',
  silent: 'Has not said anything about this edit',
  none: 'No edit has been confirmed since the page was opened',
};

/** What the link to a replica does, or what is known of its process. */
export function stateOf(replica: Replica, process: Process | undefined): string {
  if (process?.state === 'paused') return 'paused';
  if (process?.state === 'stopped') return 'killed';
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

/** What a replica says of itself; it is `behind` others by so many instances. */
export function reported(
  { view, leader, lastCid, learner, transfer }: Report,
  behind: number,
): string {
  const position = `instance ${lastCid}`;
  if (transfer) {
    const chunks = transfer.chunks > 0 ? `, ${transfer.held} of ${transfer.chunks} chunks` : '';
    return `Fetches the state${chunks}; ${position}`;
  }
  if (learner) return `Catches up, does not vote yet; ${position}`;
  const place = behind > 0 ? `${position}, ${behind} behind` : position;
  return `Says: view ${view}, leader ${leader}, ${place}`;
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

/** A time span since something, in words. */
export function ago(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  return seconds < 90 ? `${seconds} s ago` : `${Math.round(seconds / 60)} min ago`;
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
