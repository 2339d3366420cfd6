// Written from the service's Rust types (webbft-typescript): change them, not this file.

/**
 * What `cas` gives.
 */
export type Compared = {
/**
 * Whether the key held what was expected, and now holds the new value.
 */
swapped: boolean,
/**
 * What the key holds now.
 */
value: string | null, };

/**
 * A key and its value; also the event of a change.
 */
export type Entry = {
/**
 * The key.
 */
key: string,
/**
 * What it holds; `null` in the event of a deletion.
 */
value: string | null, };

/**
 * An operation that cannot be done in this state.
 */
export type KvError = { "code": "full",
/**
 * In bytes.
 */
limit: number,
/**
 * In words.
 */
message: string, };

/**
 * Which entries to list.
 */
export type List = {
/**
 * What their keys begin with; the empty text for all.
 */
prefix: string,
/**
 * How many at most; no more than [`MAX_LIST`] in any case.
 */
limit?: number,
/**
 * Only keys after this one.
 */
after?: string | null, };

/**
 * What a client may ask for in the total order.
 */
export type Operation = { "op": "put",
/**
 * The key.
 */
key: string,
/**
 * Its new value.
 */
value: string, } | { "op": "delete",
/**
 * The key.
 */
key: string, } | { "op": "cas",
/**
 * The key.
 */
key: string,
/**
 * What it must hold; `null` where it must be absent. May not be left out.
 */
expect: string | null,
/**
 * Its new value.
 */
value: string, } | { "op": "get",
/**
 * The key.
 */
key: string, } | { "op": "list" } & List;

/**
 * What `list` gives.
 */
export type Page = {
/**
 * In order of their keys.
 */
entries: ReadonlyArray<Entry>,
/**
 * Whether there are more entries after these.
 */
more: boolean, };

/**
 * What a client may read without ordering.
 */
export type Query = { "op": "get",
/**
 * The key.
 */
key: string, } | { "op": "list" } & List;

/**
 * What `get` gives.
 */
export type Value = {
/**
 * What the key holds.
 */
value: string | null, };

/**
 * What `put` and `delete` give.
 */
export type Written = {
/**
 * What the key held before.
 */
previous: string | null, };

/** What an operation takes: its fields without its name. */
type Request<Op extends string, R = Extract<Operation | Query, { op: Op }>> = R extends unknown
  ? keyof R extends 'op' ? Record<string, never> : Omit<R, 'op'>
  : never;

/** For `createClient<Kv>()`. */
export interface Kv {
  ops: {
    put: { req: Request<'put'>; res: Written };
    delete: { req: Request<'delete'>; res: Written };
    cas: { req: Request<'cas'>; res: Compared };
    get: { req: Request<'get'>; res: Value };
    list: { req: Request<'list'>; res: Page };
  };
  events: {
    kv: Entry;
  };
}
