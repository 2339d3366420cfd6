import { type Code, type Outcome, WebBftError } from './errors.js';
import type {
  ClientEvent,
  Evidence,
  LogEntry,
  Message,
  Options,
  Quorum,
  Status,
  View,
} from './types.js';

/** What of the options can be sent to a worker; what cannot is asked for when it is needed. */
export type SentOptions = Omit<Options, 'view' | 'wasm' | 'WebSocket' | 'log' | 'codecs'> & {
  readonly view: View | 'ask';
  readonly wasm: string | WebAssembly.Module | BufferSource | 'ask' | undefined;
  readonly log: boolean;
  /** Operations and events whose payloads the page encodes and decodes. */
  readonly coded: { readonly ops: readonly string[]; readonly events: readonly string[] };
};

/** Why the links are tried anew. */
export type Cause = Extract<ClientEvent, { type: 'reconnect' }>['cause'];

/** An answer that the worker asked for. */
export type Answer =
  | { readonly what: 'view'; readonly view: View }
  | {
      readonly what: 'wasm';
      readonly status: number;
      readonly contentType: string;
      readonly bytes: ArrayBuffer;
    }
  | { readonly what: 'view' | 'wasm'; readonly error: SentError };

/** From the page to the worker. `id` names a call or a subscription. */
export type ToWorker =
  | { readonly type: 'create'; readonly options: SentOptions }
  | {
      readonly type: 'connect';
      readonly id: string;
      readonly options: { readonly wait?: 'quorum' | 'all'; readonly timeoutMs?: number };
    }
  | {
      readonly type: 'call';
      readonly id: string;
      readonly kind: 'invoke' | 'invokeUnordered';
      readonly op: string;
      readonly req: unknown;
      readonly options: { readonly timeoutMs?: number; readonly offline?: 'queue' | 'fail' };
    }
  | { readonly type: 'subscribe'; readonly id: string; readonly topic: string }
  | { readonly type: 'unsubscribe'; readonly id: string; readonly subscription: string }
  | { readonly type: 'announce'; readonly topic: string; readonly value: unknown }
  | { readonly type: 'abort'; readonly id: string }
  | { readonly type: 'view'; readonly view: View }
  | { readonly type: 'drain'; readonly id: string }
  | { readonly type: 'network'; readonly cause: Cause }
  | { readonly type: 'answer'; readonly answer: Answer }
  | { readonly type: 'close' };

/** From the worker to the page. */
export type FromWorker =
  | {
      readonly type: 'status';
      readonly status: Status;
      readonly clientId: string | undefined;
    }
  | { readonly type: 'event'; readonly event: ClientEvent }
  | { readonly type: 'log'; readonly entry: LogEntry }
  | { readonly type: 'ask'; readonly what: 'view' | 'wasm' }
  | {
      readonly type: 'done';
      readonly id: string;
      readonly value?: unknown;
      readonly evidence?: Evidence;
    }
  | { readonly type: 'failed'; readonly id: string; readonly error: SentError }
  | {
      readonly type: 'message';
      readonly id: string;
      readonly topic: string;
      readonly message: Message<unknown>;
    }
  | { readonly type: 'ended'; readonly id: string; readonly error: SentError | undefined }
  | { readonly type: 'closed' };

/** An error as it crosses; copying an `Error` would lose its fields. */
export interface SentError {
  readonly code: Code;
  readonly message: string;
  readonly outcome: Outcome;
  readonly quorum: Quorum | undefined;
  /** In an object where there is one, since it may be anything. */
  readonly detail?: { readonly value: unknown };
  readonly cause: string | undefined;
}

/** An error in a form that can be sent. */
export function sendable(error: unknown): SentError {
  if (!WebBftError.is(error)) {
    const message = `the worker failed: ${error}`;
    return { code: 'INPUT', message, outcome: 'unknown', quorum: undefined, cause: undefined };
  }
  const { code, message, outcome, quorum } = error;
  const cause = error.cause === undefined ? undefined : String(error.cause);
  const detail = 'detail' in error ? { detail: { value: error.detail } } : {};
  return { code, message, outcome, quorum, cause, ...detail };
}

/** The error that was sent; `cause` replaces its own, which may not survive the way. */
export function received(sent: SentError, cause: unknown = sent.cause): WebBftError {
  return new WebBftError(sent.code, sent.message, {
    outcome: sent.outcome,
    quorum: sent.quorum,
    ...(sent.detail ? { detail: sent.detail.value } : {}),
    ...(cause === undefined ? {} : { cause }),
  });
}

/** A log entry whose fields can be sent. */
export function plainEntry({ level, msg, fields }: LogEntry): LogEntry {
  const plain = Object.entries(fields).map(([name, value]) => [
    name,
    typeof value === 'number' || typeof value === 'boolean' ? value : String(value),
  ]);
  return { level, msg, fields: Object.fromEntries(plain) };
}
