/** What is needed of a WebSocket; the browser's and that of npm's `ws` have it. */
export interface WebSocketLike {
  binaryType: string;
  // biome-ignore lint/suspicious/noExplicitAny: implementations have event types of their own
  onopen: ((event: any) => void) | null;
  // biome-ignore lint/suspicious/noExplicitAny: as above
  onmessage: ((event: any) => void) | null;
  // biome-ignore lint/suspicious/noExplicitAny: as above
  onclose: ((event: any) => void) | null;
  // biome-ignore lint/suspicious/noExplicitAny: as above
  onerror: ((event: any) => void) | null;
  send(data: Uint8Array<ArrayBuffer>): void;
  close(): void;
}

export type WebSocketConstructor = new (url: string) => WebSocketLike;

/** What happens on the sockets, by position of the replica. */
export interface SocketHandlers {
  opened(replica: number): void;
  message(replica: number, bytes: Uint8Array): void;
  /** Closed by the other side or an error, with the reason where one is known. */
  closed(replica: number, reason?: unknown): void;
}

/** At most one socket to each replica. Events of a socket that was let go are dropped. */
export class Sockets {
  readonly #WebSocket: WebSocketConstructor;
  readonly #handlers: SocketHandlers;
  readonly #sockets = new Map<number, WebSocketLike>();

  constructor(webSocket: WebSocketConstructor, handlers: SocketHandlers) {
    this.#WebSocket = webSocket;
    this.#handlers = handlers;
  }

  open(replica: number, url: string): void {
    this.close(replica);
    let socket: WebSocketLike;
    try {
      socket = new this.#WebSocket(url);
    } catch (reason) {
      // A page served over https may not open ws://, for one.
      queueMicrotask(() => this.#handlers.closed(replica, reason));
      return;
    }
    this.#sockets.set(replica, socket);
    const current = () => this.#sockets.get(replica) === socket;
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => {
      if (current()) this.#handlers.opened(replica);
    };
    socket.onmessage = (event: { data: ArrayBuffer | string }) => {
      if (!current()) return;
      // The core wants an empty message for what is no message of the protocol.
      const { data } = event;
      this.#handlers.message(
        replica,
        data instanceof ArrayBuffer ? new Uint8Array(data) : new Uint8Array(),
      );
    };
    // An error is followed by a close; the page is not told what went wrong.
    socket.onerror = () => {};
    socket.onclose = () => {
      if (current()) this.#lost(replica, socket);
    };
  }

  send(replica: number, bytes: Uint8Array<ArrayBuffer>): void {
    const socket = this.#sockets.get(replica);
    if (!socket) return;
    try {
      socket.send(bytes);
    } catch (reason) {
      queueMicrotask(() => {
        if (this.#sockets.get(replica) === socket) this.#lost(replica, socket, reason);
      });
    }
  }

  close(replica: number): void {
    const socket = this.#sockets.get(replica);
    if (!socket) return;
    this.#sockets.delete(replica);
    // onerror stays: `ws` reports closing before the connection is there as an error.
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  closeAll(): void {
    for (const replica of [...this.#sockets.keys()]) this.close(replica);
  }

  #lost(replica: number, socket: WebSocketLike, reason?: unknown): void {
    this.#sockets.delete(replica);
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    this.#handlers.closed(replica, reason);
  }
}
