import { describe, expect, it } from 'vitest';
import { decodePayload, decodeResult, encodeRequest } from '../src/call.js';
import { bytes, type Codec, json } from '../src/codec.js';

const evidence = { viewId: 0, needed: 3, matching: [0, 1, 2], differing: [3], silent: [] };

const text: Codec<string> = {
  encode: (value) => new TextEncoder().encode(value),
  decode: (value) => new TextDecoder('utf-8', { fatal: true }).decode(value),
};

describe('payloads', () => {
  it('are JSON with the operation in it unless said', () => {
    const payload = encodeRequest('put', { key: 'a' });
    expect(json().decode(payload)).toEqual({ key: 'a', op: 'put' });
    expect(json().decode(encodeRequest('get', undefined))).toEqual({ op: 'get' });
  });

  it('are what a codec gives, whole', () => {
    expect([...encodeRequest('raw', new Uint8Array([1, 2]), bytes)]).toEqual([1, 2]);
    expect(decodeResult(new Uint8Array([65]), evidence, text)).toBe('A');
  });

  it('that cannot be encoded are refused', () => {
    for (const encode of [
      () => encodeRequest('put', 'a'),
      () => encodeRequest('raw', 'a', bytes),
      () => encodeRequest('raw', undefined, json()),
      () => encodeRequest('raw', 1, { encode: () => 'text' as never, decode: () => 1 }),
    ]) {
      expect(encode).toThrow(expect.objectContaining({ code: 'INPUT', outcome: 'not-sent' }));
    }
  });

  it('that cannot be decoded say who agreed on them', () => {
    const garbage = new Uint8Array([0xff]);
    for (const decode of [
      () => decodePayload(garbage, evidence),
      () => decodePayload(garbage, evidence, text),
      () => decodeResult(json().encode({ result: 1 }), evidence),
    ]) {
      expect(decode).toThrow(
        expect.objectContaining({
          code: 'DECODE',
          outcome: 'executed',
          retryable: false,
          quorum: evidence,
        }),
      );
    }
  });
});
