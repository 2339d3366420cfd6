import type { Quorum } from './types.js';

/** What went wrong; `docs/errors` has a page for each. */
export type Code =
  | 'ABORTED'
  | 'TIMEOUT'
  | 'NO_QUORUM'
  | 'OFFLINE'
  | 'QUEUE_FULL'
  | 'CLOSED'
  | 'AUTH'
  | 'VIEW'
  | 'INPUT'
  | 'DECODE'
  | 'PROTOCOL'
  | 'SERVICE'
  | 'REFUSED'
  | 'EXPIRED'
  | 'FAULT'
  | 'TOO_LARGE'
  | 'FORGOTTEN'
  | 'OVERFLOW'
  | 'WASM_UNAVAILABLE'
  | 'WASM_LOAD'
  | 'WASM_CRASH';

/**
 * Could the replicas have executed it?
 * - `not-sent`: it never left; `not-executed`: the replicas refused it for good
 * - `unknown`: perhaps, or it may still happen; `executed`: yes
 */
export type Outcome = 'not-sent' | 'not-executed' | 'unknown' | 'executed';

/** Codes where trying again, unchanged, may help. */
const RETRYABLE: ReadonlySet<Code> = new Set([
  'TIMEOUT',
  'NO_QUORUM',
  'OFFLINE',
  'QUEUE_FULL',
  'EXPIRED',
  'OVERFLOW',
  'WASM_LOAD',
]);

/** What may be known about an error besides its code. */
export interface ErrorInit {
  /** `'not-sent'` unless said. */
  readonly outcome?: Outcome;
  /** Who voted how. */
  readonly quorum?: Quorum | undefined;
  /** The service's own error. */
  readonly detail?: unknown;
  /** What was thrown underneath. */
  readonly cause?: unknown;
}

/** Every error this package rejects or throws with. */
export class WebBftError extends Error {
  /** Always this, so that copies of the package know each other's errors. */
  override readonly name = 'WebBftError';
  /** What went wrong, in one word. */
  readonly code: Code;
  /**
   * May the same call succeed later? Where `outcome` is `unknown` it may then be executed twice,
   * so retry only what may be.
   */
  readonly retryable: boolean;
  /** Could the replicas have executed the call? */
  readonly outcome: Outcome;
  /** Who voted how, where replicas were asked. */
  readonly quorum?: Quorum;
  /** For `SERVICE` the error that the service returned. */
  readonly detail?: unknown;
  /** The page about this code: a path in the package. */
  readonly docs: string;

  constructor(code: Code, message: string, init: ErrorInit = {}) {
    super(message, 'cause' in init ? { cause: init.cause } : undefined);
    this.code = code;
    this.retryable = RETRYABLE.has(code);
    this.outcome = init.outcome ?? 'not-sent';
    if (init.quorum) this.quorum = init.quorum;
    if ('detail' in init) this.detail = init.detail;
    this.docs = `webbft/docs/errors/${code}.md`;
  }

  /** Is `error` one of ours, and of this code? Works across copies of the package. */
  static is(error: unknown, code?: Code): error is WebBftError {
    if (!(error instanceof Error) || error.name !== 'WebBftError' || !('code' in error)) {
      return false;
    }
    return code === undefined || error.code === code;
  }
}

/** Codes of errors that the core throws; all else it throws is a crash of the Wasm. */
const THROWN: ReadonlySet<unknown> = new Set<Code>(['VIEW', 'INPUT', 'QUEUE_FULL', 'CLOSED']);

/** What the core threw, unless it crashed. */
export function fromCore(thrown: unknown): WebBftError | undefined {
  if (typeof thrown !== 'object' || thrown === null) return undefined;
  if (!('code' in thrown && THROWN.has(thrown.code) && 'message' in thrown)) return undefined;
  return new WebBftError(thrown.code as Code, String(thrown.message));
}

/** `what` was aborted by the caller's signal, whose reason is the cause. */
export function aborted(
  what: string,
  signal: AbortSignal | undefined,
  outcome?: Outcome,
): WebBftError {
  const init = { ...(outcome && { outcome }), cause: signal?.reason };
  return new WebBftError('ABORTED', `${what} was aborted`, init);
}
