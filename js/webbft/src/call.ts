import { type Codec, json } from './codec.js';
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

export const JSON_CODEC = json<unknown>();

/** The payload of `invoke(op, req)`: what the codec makes of `req`, or JSON, `{…req, "op": op}`. */
export function encodeRequest(op: string, req: unknown, codec?: Codec<unknown>): Uint8Array {
  const object = typeof req === 'object' && !Array.isArray(req);
  if (!codec && req !== undefined && !object) {
    throw new WebBftError('INPUT', `the request of ${op} must be an object`);
  }
  const value = codec ? req : { ...(req as object | null | undefined), op };
  return encodeValue(`the request of ${op}`, value, codec);
}

/** The bytes of a value; `what` says whose. */
export function encodeValue(what: string, value: unknown, codec = JSON_CODEC): Uint8Array {
  try {
    const payload = codec.encode(value);
    if (payload instanceof Uint8Array) return payload;
  } catch (cause) {
    throw new WebBftError('INPUT', `${what} cannot be encoded: ${cause}`, { cause });
  }
  throw new WebBftError('INPUT', `the codec of ${what} did not give a Uint8Array`);
}

/** The value of an agreed result: what the codec makes of it, or `{"ok": …}` or `{"error": …}`. */
export function decodeResult<T>(result: Uint8Array, evidence: Evidence, codec?: Codec<T>): T {
  if (codec) return decodePayload(result, evidence, codec) as T;
  const init = { outcome: 'executed', quorum: evidence } as const;
  const envelope = decodePayload(result, evidence);
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

/** The value of agreed bytes. */
export function decodePayload(
  payload: Uint8Array,
  quorum: Evidence,
  codec: Codec<unknown> = JSON_CODEC,
): unknown {
  try {
    return codec.decode(payload);
  } catch (cause) {
    const what = codec === JSON_CODEC ? 'not JSON' : 'not what their codec wants';
    const message = `the agreed bytes are ${what}: ${cause}`;
    throw new WebBftError('DECODE', message, { outcome: 'executed', quorum, cause });
  }
}
