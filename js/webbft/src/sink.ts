import type { Sink } from '../wasm/webbft_client_wasm.js';
import type { CoreEvidence, Effect } from './core.js';
import type { Code, Outcome } from './errors.js';
import type { Phase, Refusal, Replica, Status, SuspectReason } from './types.js';

const NOBODY: CoreEvidence = { viewId: 0, needed: 0, matching: [], differing: [], silent: [] };

/** Makes objects of what the Wasm says by position. */
export class EffectSink implements Sink {
  #effect: Effect | undefined;
  #evidence: CoreEvidence = NOBODY;
  #status: Omit<Status, 'replicas'> = {
    phase: 'idle',
    viewId: 0,
    n: 0,
    f: 0,
    connected: 0,
    needed: 0,
    pending: 0,
  };
  #replicas: Replica[] = [];

  /** The effect of the last `poll`. */
  take(): Effect | undefined {
    const effect = this.#effect;
    this.#effect = undefined;
    return effect;
  }

  /** What the last `status` said. */
  takeStatus(): Status {
    const replicas = this.#replicas;
    this.#replicas = [];
    return { ...this.#status, replicas };
  }

  open(index: number): void {
    this.#effect = { type: 'open', replica: index };
  }

  send(index: number, bytes: Uint8Array<ArrayBuffer>): void {
    this.#effect = { type: 'send', replica: index, bytes };
  }

  close(index: number): void {
    this.#effect = { type: 'close', replica: index };
  }

  votes(
    viewId: number,
    needed: number,
    matching: Uint16Array,
    differing: Uint16Array,
    silent: Uint16Array,
    cid: number | undefined,
  ): void {
    const votes = {
      viewId,
      needed,
      matching: [...matching],
      differing: [...differing],
      silent: [...silent],
    };
    this.#evidence = cid === undefined ? votes : { ...votes, cid };
  }

  completed(call: number, result: Uint8Array): void {
    this.#effect = { type: 'completed', call, result, evidence: this.#evidence };
  }

  failed(call: number, code: string, message: string, outcome: string): void {
    this.#effect = {
      type: 'failed',
      call,
      code: code as Code,
      message,
      outcome: outcome as Outcome,
      evidence: this.#evidence,
    };
  }

  lateVotes(call: number, number: number | undefined): void {
    const votes = { type: 'votes', call, evidence: this.#evidence } as const;
    this.#effect = number === undefined ? votes : { ...votes, number };
  }

  subscribed(call: number, next: number): void {
    this.#effect = { type: 'subscribed', call, next, evidence: this.#evidence };
  }

  event(call: number, number: number, payload: Uint8Array): void {
    this.#effect = { type: 'event', call, number, payload, evidence: this.#evidence };
  }

  gap(call: number, missedFrom: number, next: number): void {
    this.#effect = { type: 'gap', call, missedFrom, next };
  }

  suspect(replica: number, reason: string, call: number | undefined): void {
    const suspect = { type: 'suspect', replica, reason: reason as SuspectReason } as const;
    this.#effect = call === undefined ? suspect : { ...suspect, call };
  }

  statusChanged(): void {
    this.#effect = { type: 'status' };
  }

  status(
    phase: string,
    viewId: number,
    n: number,
    f: number,
    connected: number,
    needed: number,
  ): void {
    this.#status = { phase: phase as Phase, viewId, n, f, connected, needed, pending: 0 };
  }

  replica(
    id: number,
    url: string,
    state: string,
    rttMs: number | undefined,
    retryAt: number | undefined,
    refused: string | undefined,
    refusal: string | undefined,
  ): void {
    this.#replicas.push({
      id,
      url,
      state: state as Replica['state'],
      ...(rttMs === undefined ? {} : { rttMs }),
      ...(retryAt === undefined ? {} : { retryAt }),
      ...(refused === undefined ? {} : { refused, refusal: refusal as Refusal }),
    });
  }

  suspicion(reason: string, count: number, last: number): void {
    const replica = this.#replicas.pop();
    if (!replica) return;
    const suspect = { reason: reason as SuspectReason, count, last };
    this.#replicas.push({ ...replica, suspect });
  }
}
