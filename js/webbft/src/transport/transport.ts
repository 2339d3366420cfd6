/** One link to one replica: a reliable, ordered stream of binary messages. */
export interface Link {
  /** Sends one message, or keeps it until it can be sent. After the end it does nothing. */
  send(message: Uint8Array<ArrayBuffer>): void;
  /** Ends the link, or stops opening it. */
  close(): void;
}

/** What happens on a link. */
export interface LinkHandlers {
  /** Messages can be sent. At most once. */
  opened(): void;
  /** One binary message; an empty one stands for what is no message of the protocol. */
  message(bytes: Uint8Array): void;
  /**
   * The link was ended by the other side or by an error, with the reason where one is known. At
   * most once, and never after `close()`.
   */
  closed(reason?: unknown): void;
}

/** Opens links. It throws nothing: what goes wrong is told by `closed`, after `open` has returned. */
export interface Transport {
  /** `url` is the replica's `ws://` or `wss://` address; other transports derive theirs from it. */
  open(url: string, handlers: LinkHandlers): Link;
}
