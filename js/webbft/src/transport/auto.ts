import type { Transport } from './transport.js';

/** How a link is carried. */
export type TransportKind = 'websocket' | 'http';

/** A transport that says what it uses. */
export interface Dialler extends Transport {
  /** What the next link to this address will use, or the present one uses. */
  kind(url: string): TransportKind;
  /** The network may be another one: what was learnt of it is forgotten. */
  networkChanged(): void;
}

/** How long a WebSocket may take to open before HTTP is tried, in milliseconds. */
const PATIENCE_MS = 4_000;
/** How often in a row one kind may fail before the other is tried. */
const MAX_FAILURES = 2;

/** One transport and no other. */
export function only(kind: TransportKind, transport: Transport): Dialler {
  return {
    open: (url, handlers) => transport.open(url, handlers),
    kind: () => kind,
    networkChanged() {},
  };
}

interface Known {
  kind: TransportKind;
  /** Did a link of this kind ever open? */
  works: boolean;
  failures: number;
}

/**
 * WebSockets, and HTTP to those replicas to which WebSockets do not open: some networks block them.
 * What worked for a replica is kept until the network changes.
 */
export function autoTransport(webSocket: Transport, http: Transport): Dialler {
  const transports = { websocket: webSocket, http };
  const replicas = new Map<string, Known>();

  function known(url: string): Known {
    const fresh: Known = { kind: 'websocket', works: false, failures: 0 };
    const replica = replicas.get(url) ?? fresh;
    replicas.set(url, replica);
    return replica;
  }

  function failed(replica: Known, kind: TransportKind, failures: number): void {
    if (replica.kind !== kind || replica.works) return;
    replica.failures += failures;
    if (replica.failures < MAX_FAILURES) return;
    replica.failures = 0;
    replica.kind = kind === 'http' ? 'websocket' : 'http';
  }

  return {
    kind: (url) => known(url).kind,
    networkChanged: () => replicas.clear(),
    open(url, handlers) {
      const replica = known(url);
      const { kind } = replica;
      let opening = true;
      let timer: ReturnType<typeof setTimeout> | undefined;
      const link = transports[kind].open(url, {
        opened() {
          clearTimeout(timer);
          opening = false;
          replica.works = true;
          replica.failures = 0;
          handlers.opened();
        },
        message: (bytes) => handlers.message(bytes),
        closed(reason) {
          clearTimeout(timer);
          if (opening) failed(replica, kind, 1);
          handlers.closed(reason);
        },
      });
      if (kind === 'websocket') {
        timer = setTimeout(() => {
          link.close();
          failed(replica, kind, MAX_FAILURES);
          handlers.closed(new Error(`no WebSocket opened within ${PATIENCE_MS} ms`));
        }, PATIENCE_MS);
      }
      return {
        send: (message) => link.send(message),
        close() {
          clearTimeout(timer);
          link.close();
        },
      };
    },
  };
}
