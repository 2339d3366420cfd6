import { WebBftError } from './errors.js';
import type { Call, Evidence } from './types.js';

/** A value and who agreed on it. */
export interface Verified<T> {
  readonly value: T;
  readonly evidence: Evidence;
}

/** The promise that a caller gets for an agreed result still to come. */
export function makeCall<T>(id: string, result: Promise<Verified<T>>): Call<T> {
  const value = result.then((verified) => verified.value);
  return Object.assign(value, {
    id,
    verified() {
      // Who takes this promise instead of the call has not left the call's rejection unhandled.
      value.catch(() => {});
      return result;
    },
  });
}

/** The payload of `invoke(op, req)`: JSON, `{"op": …, …req}`. */
export function encodeRequest(op: string, req: unknown): Uint8Array {
  if (req !== undefined && req !== null && (typeof req !== 'object' || Array.isArray(req))) {
    throw new WebBftError('INPUT', `the request of ${op} must be an object`);
  }
  try {
    return new TextEncoder().encode(JSON.stringify({ ...req, op }));
  } catch (cause) {
    throw new WebBftError('INPUT', `the request of ${op} cannot be written as JSON: ${cause}`, {
      cause,
    });
  }
}

/** The value of an agreed result, `{"ok": …}` or `{"error": …}`. */
export function decodeResult<T>(result: Uint8Array, evidence: Evidence): T {
  const init = { outcome: 'executed', quorum: evidence } as const;
  const envelope = decodeJson(result, init);
  if (typeof envelope === 'object' && envelope !== null) {
    if ('ok' in envelope) return envelope.ok as T;
    if ('error' in envelope) {
      const detail = envelope.error;
      const text = typeof detail === 'string' ? detail : JSON.stringify(detail);
      throw new WebBftError('SERVICE', `the service answers: ${text}`, { ...init, detail });
    }
  }
  throw new WebBftError('DECODE', 'the agreed result is neither {"ok": …} nor {"error": …}', init);
}

/** Agreed bytes as JSON. */
export function decodeJson(
  bytes: Uint8Array,
  init: { readonly outcome: 'executed'; readonly quorum: Evidence },
): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new WebBftError('DECODE', `the agreed bytes are not JSON: ${cause}`, { ...init, cause });
  }
}
