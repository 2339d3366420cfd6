// Written from the service's Rust types (webbft-typescript): change them, not this file.

export type Operation = { "op": "castVote",
/**
 * For what.
 */
option: string, weight?: number, } | { "op": "tally", };

export type Query = { "op": "tally", } | { "op": "since" } & Since;

export type Since = { when: number, };

/**
 * The votes.
 */
export type Tally = { votes: ReadonlyArray<Votes>, };

export type Votes = { option: string, count: number, };

/** What an operation takes: its fields without its name. */
type Request<Op extends string, R = Extract<Operation | Query, { op: Op }>> = R extends unknown
  ? keyof R extends 'op' ? Record<string, never> : Omit<R, 'op'>
  : never;

/** For `createClient<Poll>()`. */
export interface Poll {
  ops: {
    castVote: { req: Request<'castVote'>; res: Tally };
    tally: { req: Request<'tally'>; res: Tally };
    since: { req: Request<'since'>; res: Tally };
  };
  events: {
    poll: Tally;
    [topic: `poll/${string}`]: Votes;
  };
}
