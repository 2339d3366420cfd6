/** Turns values into bytes and back. It throws where it cannot. */
export interface Codec<T> {
  /** The bytes that are sent. */
  encode(value: T): Uint8Array;
  /** The value of agreed bytes. */
  decode(bytes: Uint8Array): T;
}

/** JSON in UTF-8. */
export const json = <T>(): Codec<T> => ({
  encode: (value) => {
    const text = JSON.stringify(value);
    // `undefined` and functions.
    if (text === undefined) throw new TypeError('JSON has no such value');
    return new TextEncoder().encode(text);
  },
  decode: (bytes) => JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)),
});

/** Bytes as they are. */
export const bytes: Codec<Uint8Array> = {
  encode: (value) => {
    if (value instanceof Uint8Array) return value;
    throw new TypeError('it is no Uint8Array');
  },
  decode: (value) => value,
};
