// Written from the service's Rust types (webbft-typescript): change them, not this file.

/**
 * An operation that cannot be done in this state.
 */
export type CounterError = { "code": "overflow",
/**
 * The value, unchanged.
 */
value: number,
/**
 * In words.
 */
message: string, };

/**
 * What a client may ask for in the total order.
 */
export type Operation = { "op": "add",
/**
 * How much.
 */
by: number, } | { "op": "get", };

/**
 * What a client may read without ordering.
 */
export type Query = { "op": "get", };

/**
 * The result of everything, and the event.
 */
export type Value = {
/**
 * The counter's value.
 */
value: number, };

/** What an operation takes: its fields without its name. */
type Request<Op extends string, R = Extract<Operation | Query, { op: Op }>> = R extends unknown
  ? keyof R extends 'op' ? Record<string, never> : Omit<R, 'op'>
  : never;

/** For `createClient<Counter>()`. */
export interface Counter {
  ops: {
    add: { req: Request<'add'>; res: Value };
    get: { req: Request<'get'>; res: Value };
  };
  events: {
    counter: Value;
  };
}
