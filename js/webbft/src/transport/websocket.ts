import { importInNode, inNode } from '../node.js';
import type { Link, LinkHandlers, Transport } from './transport.js';

/** What is needed of a WebSocket; the browser's and that of npm's `ws` have it. */
export interface WebSocketLike {
  /** Is set to `'arraybuffer'`. */
  binaryType: string;
  /** Messages can be sent. */
  // biome-ignore lint/suspicious/noExplicitAny: implementations have event types of their own
  onopen: ((event: any) => void) | null;
  /** A message has come, as `data`. */
  // biome-ignore lint/suspicious/noExplicitAny: as above
  onmessage: ((event: any) => void) | null;
  /** It is over. */
  // biome-ignore lint/suspicious/noExplicitAny: as above
  onclose: ((event: any) => void) | null;
  /** Something is wrong; `onclose` follows. */
  // biome-ignore lint/suspicious/noExplicitAny: as above
  onerror: ((event: any) => void) | null;
  /** Sends one binary message. */
  send(data: Uint8Array<ArrayBuffer>): void;
  /** Ends it, or stops opening it. */
  close(): void;
}

/** Opens a WebSocket to an address. */
export type WebSocketConstructor = new (url: string) => WebSocketLike;

/** Links that are WebSockets. */
export function webSocketTransport(WebSocket: WebSocketConstructor): Transport {
  return {
    open(url, handlers) {
      try {
        return link(new WebSocket(url), handlers);
      } catch (reason) {
        return refused(reason, handlers);
      }
    },
  };
}

function link(socket: WebSocketLike, handlers: LinkHandlers): Link {
  socket.binaryType = 'arraybuffer';
  socket.onopen = () => handlers.opened();
  socket.onmessage = ({ data }: { data: ArrayBuffer | string }) => {
    handlers.message(data instanceof ArrayBuffer ? new Uint8Array(data) : new Uint8Array());
  };
  // An error is followed by a close; the page is not told what went wrong.
  socket.onerror = () => {};
  socket.onclose = () => {
    close();
    handlers.closed();
  };
  const close = () => {
    // onerror stays: `ws` reports closing before the connection is there as an error.
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  };
  return {
    send(message) {
      try {
        socket.send(message);
      } catch (reason) {
        queueMicrotask(() => {
          if (socket.onclose === null) return;
          close();
          handlers.closed(reason);
        });
      }
    },
    close,
  };
}

/** The constructor threw: a page served over https may not open ws://, for one. */
function refused(reason: unknown, handlers: LinkHandlers): Link {
  let closed = false;
  queueMicrotask(() => {
    if (!closed) handlers.closed(reason);
  });
  return {
    send() {},
    close() {
      closed = true;
    },
  };
}

/** The global constructor, or in a Node that has none that of `ws`, where it is installed. */
export async function findWebSocket(): Promise<WebSocketConstructor | undefined> {
  if (typeof globalThis.WebSocket === 'function') return globalThis.WebSocket;
  if (!inNode()) return undefined;
  const found = await importInNode('ws').catch(() => undefined);
  return (found as { WebSocket?: WebSocketConstructor } | undefined)?.WebSocket;
}
