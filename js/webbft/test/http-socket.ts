import { httpTransport } from '../src/transport/http.js';
import type { Link } from '../src/transport/transport.js';
import type { WebSocketLike } from '../src/transport/websocket.js';

/** A link on HTTP that looks like a WebSocket. */
export class HttpSocket implements WebSocketLike {
  binaryType = 'arraybuffer';
  onopen: ((event: unknown) => void) | null = null;
  onmessage: ((event: { data: ArrayBufferLike }) => void) | null = null;
  onclose: ((event: unknown) => void) | null = null;
  onerror: ((event: unknown) => void) | null = null;
  readonly #link: Link;

  constructor(url: string) {
    this.#link = httpTransport(fetch).open(url, {
      opened: () => this.onopen?.({}),
      message: ({ buffer }) => this.onmessage?.({ data: buffer }),
      closed: (reason) => this.onclose?.({ reason }),
    });
  }

  send(data: Uint8Array<ArrayBuffer>): void {
    this.#link.send(data);
  }

  close(): void {
    this.#link.close();
  }
}
