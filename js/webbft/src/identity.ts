const DATABASE = 'webbft';
const STORE = 'keys';
const LENGTH = 32;

/**
 * This origin's private key for a service, made when there is none; `undefined` where there is no
 * IndexedDB. Pages that use it at the same time are one client with a session each, which the
 * replicas keep apart.
 */
export async function storedKey(service: string): Promise<Uint8Array | undefined> {
  const factory = (globalThis as { indexedDB?: IDBFactory }).indexedDB;
  if (!factory) return undefined;
  const opening = factory.open(DATABASE, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
  const database = await result(opening);
  try {
    // One transaction, so that two pages that begin together get the same key.
    const store = database.transaction(STORE, 'readwrite').objectStore(STORE);
    const found: unknown = await result(store.get(service));
    if (found instanceof Uint8Array && found.length === LENGTH) return found;
    const made = randomKey();
    await result(store.put(made, service));
    return made;
  } finally {
    database.close();
  }
}

export function randomKey(): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(LENGTH));
}

function result<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    if ('onblocked' in request) request.onblocked = () => reject(new Error('it is blocked'));
  });
}
