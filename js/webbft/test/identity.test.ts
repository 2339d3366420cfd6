import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { storedKey } from '../src/identity.js';

/** Databases as IndexedDB has them, as far as one key is stored and read. */
class Databases {
  readonly stores = new Map<string, Map<string, unknown>>();
  refuse = false;

  open(name: string) {
    const known = this.stores.get(name);
    const store = known ?? new Map<string, unknown>();
    const database = {
      createObjectStore: () => this.stores.set(name, store),
      transaction: () => ({
        objectStore: () => ({
          get: (key: string) => request(() => store.get(key)),
          put: (value: unknown, key: string) => request(() => store.set(key, value)),
        }),
      }),
      close() {},
    };
    const opening = request(() => {
      if (this.refuse) throw new DOMException('private window', 'InvalidStateError');
      opening.result = database;
      if (!known) opening.onupgradeneeded?.();
      return database;
    });
    return opening;
  }
}

function request(work: () => unknown) {
  const made = {
    result: undefined as unknown,
    error: undefined as unknown,
    onupgradeneeded: undefined as (() => void) | undefined,
    onsuccess: undefined as (() => void) | undefined,
    onerror: undefined as (() => void) | undefined,
  };
  queueMicrotask(() => {
    try {
      const value = work();
      made.result = value;
    } catch (error) {
      made.error = error;
      made.onerror?.();
      return;
    }
    made.onsuccess?.();
  });
  return made;
}

let databases: Databases;

beforeEach(() => {
  databases = new Databases();
  vi.stubGlobal('indexedDB', databases);
});

afterEach(() => {
  vi.unstubAllGlobals();
});

it('is drawn once for each service', async () => {
  const first = await storedKey('07');
  expect(first?.length).toBe(32);
  expect(await storedKey('07')).toEqual(first);
  expect(await storedKey('08')).not.toEqual(first);
});

it('is drawn anew where what is stored is no key', async () => {
  await storedKey('07');
  databases.stores.get('webbft')?.set('07', 'garbage');
  const fresh = await storedKey('07');
  expect(fresh?.length).toBe(32);
  expect(await storedKey('07')).toEqual(fresh);
});

it('is not there without a database, and fails where that refuses', async () => {
  databases.refuse = true;
  await expect(storedKey('07')).rejects.toThrow('private window');
  vi.stubGlobal('indexedDB', undefined);
  expect(await storedKey('07')).toBeUndefined();
});
