// Written from the service's Rust types (webbft-typescript): change them, not this file.

/**
 * What `history` gives.
 */
export type DocHistory = {
/**
 * The lowest version that `since` takes.
 */
oldest: number,
/**
 * The current version.
 */
version: number,
/**
 * The text of version `oldest`.
 */
text: string, };

/**
 * A document's name: 1 to 64 letters, digits, `_` and `-`.
 */
export type DocName = string;

/**
 * What `list` gives.
 */
export type Documents = {
/**
 * In order of their names.
 */
documents: ReadonlyArray<Listed>, };

/**
 * An accepted edit, as it is published.
 */
export type EditEvent = {
/**
 * The version that it makes.
 */
version: number,
/**
 * Who made the edit.
 */
author: string,
/**
 * What the author named it, to recognise it.
 */
tag: string,
/**
 * The agreed time of its acceptance, in microseconds since the Unix epoch.
 */
time: number,
/**
 * What it replaces in the text of the version before.
 */
spans: ReadonlyArray<Span>, };

/**
 * What `create` and `edit` give.
 */
export type Edited = {
/**
 * The version that the edit made; 0 for a new document.
 */
version: number, };

/**
 * An operation or query that cannot be done in this state; nothing was changed.
 */
export type EditorError = {
/**
 * The problem in words, with what to do.
 */
message: string, } & ({ "code": "tooOld",
/**
 * The lowest version that can be used.
 */
oldest: number, } | { "code": "future",
/**
 * The current version.
 */
version: number, } | { "code": "outOfRange",
/**
 * The length of the text at the edit's base.
 */
length: number, } | { "code": "splitsSurrogate",
/**
 * The position, in the text at the edit's base.
 */
at: number, } | { "code": "tooLong",
/**
 * [`MAX_TEXT`](super::MAX_TEXT).
 */
limit: number, } | { "code": "malformedSpans", } | { "code": "tooLarge",
/**
 * [`MAX_CHANGE`](super::diffsync::MAX_CHANGE).
 */
limit: number,
/**
 * [`MAX_SPANS`](super::diffsync::MAX_SPANS).
 */
spans: number, } | { "code": "patchFailed" } | { "code": "exists",
/**
 * Its current version.
 */
version: number, } | { "code": "full",
/**
 * [`MAX_DOCUMENTS`].
 */
documents: number,
/**
 * [`MAX_TOTAL`].
 */
size: number, });

/**
 * What `since` gives.
 */
export type Edits = {
/**
 * The current version.
 */
version: number,
/**
 * The edits that lead to it, in order.
 */
edits: ReadonlyArray<EditEvent>, };

/**
 * A document in the list.
 */
export type Listed = {
/**
 * Its name.
 */
doc: string,
/**
 * Its current version.
 */
version: number,
/**
 * The length of its text, in UTF-16 code units.
 */
length: number,
/**
 * When it was last edited, or created: the agreed time in microseconds since the Unix epoch.
 */
changed: number, };

/**
 * The event of a new document, on the topic [`DOCS_TOPIC`].
 */
export type NewDocument = {
/**
 * Its name.
 */
doc: string,
/**
 * Its version: 0, or 1 where an edit created it.
 */
version: number, };

/**
 * What a client may ask for in the total order.
 */
export type Operation = { "op": "create",
/**
 * Which document.
 */
doc: DocName, } | { "op": "edit",
/**
 * Which document.
 */
doc: DocName,
/**
 * The version that the spans refer to.
 */
base: number,
/**
 * Any short text, given back in the event so that the author recognises the edit.
 */
tag: Tag,
/**
 * What to replace.
 */
spans: ReadonlyArray<Span>, } | { "op": "read",
/**
 * Which document.
 */
doc: DocName, };

/**
 * What a client may read without ordering.
 */
export type Query = { "op": "read",
/**
 * Which document.
 */
doc: DocName, } | { "op": "since",
/**
 * Which document.
 */
doc: DocName,
/**
 * The version.
 */
version: number, } | { "op": "history",
/**
 * Which document.
 */
doc: DocName, } | { "op": "list", };

/**
 * What `read` gives.
 */
export type Read = {
/**
 * The current version.
 */
version: number,
/**
 * Its text.
 */
text: string, };

/**
 * Replaces the text in `from..to` by `insert`. An edit is a list of spans, all relative to the
 * same text, in ascending order, without overlap.
 */
export type Span = {
/**
 * Where the replaced text begins.
 */
from: number,
/**
 * Where it ends; equal to `from` for an insertion.
 */
to: number,
/**
 * What takes its place; empty for a deletion.
 */
insert: string, };

/**
 * An edit's name: at most 32 UTF-16 code units.
 */
export type Tag = string;

/** What an operation takes: its fields without its name. */
type Request<Op extends string, R = Extract<Operation | Query, { op: Op }>> = R extends unknown
  ? keyof R extends 'op' ? Record<string, never> : Omit<R, 'op'>
  : never;

/** For `createClient<Editor>()`. */
export interface Editor {
  ops: {
    create: { req: Request<'create'>; res: Edited };
    edit: { req: Request<'edit'>; res: Edited };
    read: { req: Request<'read'>; res: Read };
    since: { req: Request<'since'>; res: Edits };
    history: { req: Request<'history'>; res: DocHistory };
    list: { req: Request<'list'>; res: Documents };
  };
  events: {
    docs: NewDocument;
    [topic: `doc/${string}`]: EditEvent;
  };
}
