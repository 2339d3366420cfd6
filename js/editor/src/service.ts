/**
 * The replicated editor service as seen from the page: its operations, queries, events and errors
 * as they travel in JSON. The service itself is `examples/src/editor` in Rust.
 */

/** Replaces UTF-16 code units `from..to` by `insert`. */
export interface Span {
  readonly from: number;
  readonly to: number;
  readonly insert: string;
}

/** An edit of `doc`: spans ascending and disjoint, relative to the text at version `base`. */
export interface EditRequest {
  readonly doc: string;
  readonly base: number;
  /** 128 random bits in hex, by which the author knows its edit again. */
  readonly tag: string;
  readonly spans: readonly Span[];
}

/** An accepted edit on topic `doc/<doc>`; its spans are relative to the text at `version - 1`. */
export interface EditEvent {
  readonly version: number;
  /** The author's client id in hex. */
  readonly author: string;
  readonly tag: string;
  /** Agreed time, microseconds since the Unix epoch. */
  readonly time: number;
  readonly spans: readonly Span[];
}

/**
 * An error of the service; every replica agrees on it as on a result. `tooOld` and `future` are
 * about the base version; `outOfRange`, `splitsSurrogate`, `tooLong`, `malformedSpans` about the
 * edit itself.
 */
export interface ServiceError {
  readonly code: string;
  readonly message: string;
}

/** The operations and events, for `createClient<EditorService>`. */
export type EditorService = {
  ops: {
    edit: { req: EditRequest; res: { version: number } };
    read: { req: { doc: string }; res: { version: number; text: string } };
    since: {
      req: { doc: string; version: number };
      res: { version: number; edits: readonly EditEvent[] };
    };
  };
  events: Record<`doc/${string}`, EditEvent>;
};
