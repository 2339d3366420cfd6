// biome-ignore-all lint/suspicious/noExplicitAny: stands in for generic declarations
// Stands in for the package's own declarations until js/webbft is built; deleted then.
declare module 'webbft' {
  export interface Quorum {
    readonly needed: number;
    readonly matching: readonly number[];
    readonly differing: readonly number[];
    readonly silent: readonly number[];
  }
  export interface Evidence extends Quorum {
    readonly viewId: number;
    readonly order?: bigint;
  }
  export interface Call<T> extends Promise<T> {
    readonly id: string;
    verified(): Promise<{ value: T; evidence: Evidence }>;
  }
  export interface Replica {
    readonly id: number;
    readonly url: string;
    readonly rttMs?: number;
    readonly refused?: string;
    readonly state: 'connecting' | 'open' | 'waiting' | 'closed';
    readonly suspect?: {
      reason: 'divergent' | 'bad-auth' | 'silent' | 'protocol';
      count: number;
      last: number;
    };
  }
  export interface Status {
    readonly phase: 'idle' | 'loading' | 'connecting' | 'ready' | 'degraded' | 'offline' | 'closed';
    readonly viewId: number;
    readonly n: number;
    readonly f: number;
    readonly connected: number;
    readonly needed: number;
    readonly pending: number;
    readonly replicas: readonly Replica[];
  }
  export type ClientEvent =
    | { type: 'status'; status: Status }
    | { type: 'suspect'; replica: number; reason: string; call?: string }
    | { type: 'votes'; kind: 'call' | 'event' | 'late'; call: string; evidence: Evidence };
  export class WebBftError extends Error {
    readonly code: string;
    readonly retryable: boolean;
    readonly outcome: 'not-sent' | 'not-executed' | 'unknown' | 'executed';
    readonly quorum?: Quorum;
    readonly detail?: unknown;
  }
  export interface Message<T> {
    readonly value: T;
    readonly evidence: Evidence;
    readonly gapBefore: boolean;
    readonly number: bigint;
  }
  export interface Subscription<_T> {
    readonly ready: Promise<void>;
    readonly closed: Promise<Error | undefined>;
    unsubscribe(): Promise<void>;
  }
  export type View = object;
  export type Service = {
    ops: Record<string, { req: any; res: any }>;
    events: Record<string, any>;
  };
  export interface Client<S extends Service> {
    readonly status: Status;
    connect(o?: { wait?: 'quorum' | 'all' }): Promise<void>;
    invoke<K extends keyof S['ops'] & string>(
      op: K,
      req: S['ops'][K]['req'],
    ): Call<S['ops'][K]['res']>;
    invokeUnordered<K extends keyof S['ops'] & string>(
      op: K,
      req: S['ops'][K]['req'],
    ): Call<S['ops'][K]['res']>;
    invokeSubscribe<K extends keyof S['events'] & string>(
      event: K,
      listener?: (m: Message<S['events'][K]>) => void,
    ): Subscription<S['events'][K]>;
    on<T extends ClientEvent['type']>(
      type: T,
      fn: (e: Extract<ClientEvent, { type: T }>) => void,
    ): () => void;
    close(): Promise<void>;
  }
  export function createClient<S extends Service>(o: { view: View }): Client<S>;
}
