import type { Dialler, TransportKind } from './transport/auto.js';
import type { Link } from './transport/transport.js';

/** What happens on the links, by position of the replica. */
export interface LinksHandlers {
  opened(replica: number): void;
  message(replica: number, bytes: Uint8Array): void;
  /** Closed by the other side or an error, with the reason where one is known. */
  closed(replica: number, reason?: unknown): void;
}

/** At most one link to each replica. */
export class Links {
  readonly #transport: Dialler;
  readonly #handlers: LinksHandlers;
  readonly #links = new Map<number, Link & { readonly kind: TransportKind }>();

  constructor(transport: Dialler, handlers: LinksHandlers) {
    this.#transport = transport;
    this.#handlers = handlers;
  }

  open(replica: number, url: string): void {
    this.close(replica);
    const kind = this.#transport.kind(url);
    const link = this.#transport.open(url, {
      opened: () => this.#handlers.opened(replica),
      message: (bytes) => this.#handlers.message(replica, bytes),
      closed: (reason) => {
        this.#links.delete(replica);
        this.#handlers.closed(replica, reason);
      },
    });
    this.#links.set(replica, { ...link, kind });
  }

  /** What carries the link to a replica, where there is one. */
  kind(replica: number): TransportKind | undefined {
    return this.#links.get(replica)?.kind;
  }

  send(replica: number, bytes: Uint8Array<ArrayBuffer>): void {
    this.#links.get(replica)?.send(bytes);
  }

  close(replica: number): void {
    const link = this.#links.get(replica);
    this.#links.delete(replica);
    link?.close();
  }

  closeAll(): void {
    for (const replica of [...this.#links.keys()]) this.close(replica);
  }
}
