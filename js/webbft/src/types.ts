import type { Codec } from './codec.js';
import type { TransportKind } from './transport/auto.js';
import type { WebSocketConstructor } from './transport/websocket.js';

/** The operations and events of a service, by name. An interface of your service extends this. */
export interface Service {
  // biome-ignore lint/suspicious/noExplicitAny: any request and result
  ops: Record<string, { req: any; res: any }>;
  // biome-ignore lint/suspicious/noExplicitAny: any event
  events: Record<string, any>;
}

/** The names of a service's operations. */
export type Op<S extends Service> = keyof S['ops'] & string;
/** The names of a service's events. */
export type Ev<S extends Service> = keyof S['events'] & string;

/** How the payloads of some operations and events are encoded; JSON where it is not said. */
export interface Codecs<S extends Service> {
  /**
   * The encoded request is the whole payload, without the operation's name, and the agreed result
   * is decoded whole.
   */
  readonly ops?: {
    readonly [K in Op<S>]?: {
      readonly req: Codec<S['ops'][K]['req']>;
      readonly res: Codec<S['ops'][K]['res']>;
    };
  };
  readonly events?: { readonly [K in Ev<S>]?: Codec<S['events'][K]> };
}

/** A member of a view. */
export interface Member {
  readonly id: number;
  /** Its WebSocket, `ws://` or `wss://`. */
  readonly url: string;
  /** Where its peers reach it; of no use to a client. */
  readonly peerAddress?: string;
  /** Its Ed25519 public key, in hexadecimal. */
  readonly publicKey: string;
  /** Its static X25519 public key, in hexadecimal: what proves to a client who it is. */
  readonly noiseKey: string;
}

/** The replicas of a service and all that is needed to talk to them: what `webbft init` writes. */
export interface View {
  /** The service's id, in hexadecimal. */
  readonly service: string;
  readonly number: number;
  /** How many members may be faulty. */
  readonly f: number;
  readonly mac?: 'hmac-sha256' | 'hmac-sha1';
  readonly activation?: number;
  readonly previous?: string;
  readonly members: readonly Member[];
}

/** Replica ids by how each voted. */
export interface Quorum {
  /** How many must match. */
  readonly needed: number;
  readonly matching: readonly number[];
  readonly differing: readonly number[];
  readonly silent: readonly number[];
}

/** Who said what about one result or event. */
export interface Evidence extends Quorum {
  /** The number of the view at execution. */
  readonly viewId: number;
  /**
   * The consensus instance that ordered the call or published the event, or as of which the read
   * holds; absent where nothing was decided.
   */
  readonly order?: bigint;
}

/** A promise of the agreed value; `verified()` also gives the votes. */
export interface Call<T> extends Promise<T> {
  readonly id: string;
  verified(): Promise<{ value: T; evidence: Evidence }>;
}

/** What speaks against a replica. */
export type SuspectReason = 'divergent' | 'bad-auth' | 'silent' | 'protocol';

/** One replica as this client sees it. Times are as of `Date.now()`. */
export interface Replica {
  readonly id: number;
  readonly url: string;
  readonly state: 'connecting' | 'open' | 'waiting' | 'closed';
  /** What carries its link, or is to; absent while there is none. */
  readonly transport?: TransportKind;
  readonly rttMs?: number;
  readonly retryAt?: number;
  readonly suspect?: {
    readonly reason: SuspectReason;
    readonly count: number;
    readonly last: number;
  };
  /** Why it, or somebody in its place, last refused a link, in words. */
  readonly refused?: string;
  /** The same as a code; set where `refused` is. */
  readonly refusal?: Refusal;
}

/**
 * Why a replica refuses a link:
 * - `version`: it speaks another version of the protocol
 * - `service`: it belongs to another service
 * - `view`: it is in another view
 * - `key`: it has another key than the view says
 * - `busy`: it has no room for another link
 */
export type Refusal = 'version' | 'service' | 'view' | 'key' | 'busy';

/**
 * - `idle`: not started, or started in vain
 * - `loading`: fetching the Wasm, the view or the identity
 * - `connecting`: never yet had a quorum
 * - `ready`: all replicas are connected
 * - `degraded`: a quorum is connected, but not all
 * - `offline`: fewer than a quorum are left
 * - `closed`: for good
 */
export type Phase = 'idle' | 'loading' | 'connecting' | 'ready' | 'degraded' | 'offline' | 'closed';

/** Immutable: a new object on every change, so that `===` tells. */
export interface Status {
  readonly phase: Phase;
  readonly viewId: number;
  readonly n: number;
  readonly f: number;
  /** Replicas with an open link. */
  readonly connected: number;
  /** The quorum. */
  readonly needed: number;
  /** Unfinished calls. */
  readonly pending: number;
  readonly replicas: readonly Replica[];
}

/** What a client tells besides results. */
export type ClientEvent =
  | { readonly type: 'status'; readonly status: Status }
  | {
      /** The client has gone on to another view. Replica ids in `joined` and `left`. */
      readonly type: 'view';
      readonly from: number;
      readonly to: number;
      readonly joined: readonly number[];
      readonly left: readonly number[];
    }
  | {
      readonly type: 'reconnect';
      readonly replica: number;
      readonly cause: 'backoff' | 'online' | 'visible' | 'manual';
    }
  | {
      readonly type: 'suspect';
      readonly replica: number;
      readonly reason: SuspectReason;
      readonly call?: string;
    }
  | {
      readonly type: 'gap';
      readonly event: string;
      readonly missedFrom: bigint;
      readonly next: bigint;
    }
  | {
      readonly type: 'votes';
      /** `late` replaces the votes given before for the same call or event. */
      readonly kind: 'call' | 'event' | 'late';
      /** The call's `id`; for an event, what names the subscription. */
      readonly call: string;
      /** For an event: its topic. */
      readonly event?: string;
      /** For an event: its number in the topic. */
      readonly number?: bigint;
      readonly evidence: Evidence;
    };

/** Options of one call. */
export interface CallOptions {
  readonly signal?: AbortSignal;
  /** Instead of the client's `timeoutMs`. */
  readonly timeoutMs?: number;
  /** Without a quorum: wait for one (the default), or fail at once with `OFFLINE`. */
  readonly offline?: 'queue' | 'fail';
}

/** One event. */
export interface Message<T> {
  readonly value: T;
  /** Its number in the topic: 1, 2, 3, … */
  readonly number: bigint;
  readonly evidence: Evidence;
  /** Events before this one are lost: read the state anew. */
  readonly gapBefore: boolean;
}

/** Options of a subscription. */
export interface SubscribeOptions {
  readonly signal?: AbortSignal;
  /** How many events may wait for the iterator; 1024 unless said. */
  readonly buffer?: number;
  /** What happens beyond that: the subscription ends with an error (default), or loses events. */
  readonly overflow?: 'error' | 'drop-oldest';
}

/** A subscription: iterate it, or give a listener. */
export interface Subscription<T> extends AsyncIterable<Message<T>>, AsyncDisposable {
  /** Settles once the replicas agree that events will come. */
  readonly ready: Promise<void>;
  /** Settles when it is over: with the error that ended it, or with nothing. */
  readonly closed: Promise<Error | undefined>;
  unsubscribe(): Promise<void>;
}

/** What can be made a Wasm module of. */
export type WasmSource =
  | URL
  | string
  | Response
  | Promise<Response>
  | WebAssembly.Module
  | BufferSource;

/** One line of the client's log. */
export interface LogEntry {
  readonly level: 'error' | 'warn' | 'info' | 'debug';
  readonly msg: string;
  readonly fields: Record<string, unknown>;
}

/** What a client is made of. */
export interface Options<S extends Service = Service> {
  /**
   * The service's replicas, or how to get them. A function is called again when f + 1 replicas
   * refuse links because of another view.
   */
  readonly view: View | (() => Promise<View>);
  /**
   * The client's key: `stored`, made once and kept in IndexedDB for this origin and service (the
   * default where there is IndexedDB; pages share it, each with a session of its own), `ephemeral`,
   * for this client only (the default elsewhere), or the caller's 32-byte private key.
   */
  readonly identity?: 'stored' | 'ephemeral' | Uint8Array;
  /** How payloads are encoded; as JSON unless said. */
  readonly codecs?: Codecs<S>;
  /**
   * What carries the links: WebSockets, and HTTP to replicas to which they do not open (`auto`, the
   * default), or one of them only.
   */
  readonly transport?: 'auto' | TransportKind;
  /** How long a call may take; 10 000 unless said. */
  readonly timeoutMs?: number;
  /** Unfinished calls beyond which new ones are refused; 1024 unless said. */
  readonly maxQueue?: number;
  /** Pauses before a lost link is dialled again; 100 to 5000 ms unless said. */
  readonly reconnect?: {
    readonly minMs?: number;
    readonly maxMs?: number;
    /** Try at once when the page becomes visible; true unless said. */
    readonly onVisible?: boolean;
  };
  /** Where the Wasm is, or the Wasm itself; found beside this package unless said. */
  readonly wasm?: WasmSource;
  /** The constructor to use; the global one unless said. */
  readonly WebSocket?: WebSocketConstructor;
  readonly log?: (entry: LogEntry) => void;
}

/** A client of the replicated service `S`. */
export interface Client<S extends Service> extends AsyncDisposable {
  readonly status: Status;
  /** The client's id once it is started: the hash of its public key, in hexadecimal. */
  readonly clientId: string | undefined;
  /**
   * Starts the client and waits for a quorum of replicas, or for all. After `timeoutMs` it
   * rejects, but the client goes on trying; `signal` only ends the waiting.
   */
  connect(options?: {
    readonly signal?: AbortSignal;
    readonly wait?: 'quorum' | 'all';
    readonly timeoutMs?: number;
  }): Promise<void>;
  /** Invokes an operation in the total order. Starts the client if need be. */
  invoke<K extends Op<S>>(
    op: K,
    req: S['ops'][K]['req'],
    options?: CallOptions,
  ): Call<S['ops'][K]['res']>;
  /** Reads without ordering; falls back to the total order where replicas do not match. */
  invokeUnordered<K extends Op<S>>(
    op: K,
    req: S['ops'][K]['req'],
    options?: CallOptions,
  ): Call<S['ops'][K]['res']>;
  /** Subscribes to the events of a topic, in order, without silent gaps. */
  invokeSubscribe<K extends Ev<S>>(
    event: K,
    listener?: (message: Message<S['events'][K]>) => void,
    options?: SubscribeOptions,
  ): Subscription<S['events'][K]>;
  /** Calls `fn` for every event of a type until the returned function is called. */
  on<T extends ClientEvent['type']>(
    type: T,
    fn: (event: Extract<ClientEvent, { type: T }>) => void,
    options?: { readonly signal?: AbortSignal },
  ): () => void;
  /**
   * Goes on with the replicas of another view. Calls that were not sent, reads and subscriptions
   * are taken along; a call under way rejects with `VIEW` and outcome `unknown`.
   * @throws WebBftError `VIEW` where it is no view, or one of another service; the client goes on
   * as before.
   */
  updateView(view: View): void;
  /** Settles once no call is pending. It does not keep new ones from being made. */
  drain(): Promise<void>;
  /** Dials every lost link at once. */
  reconnectNow(): void;
  /** Ends the client for good; unfinished calls reject with `CLOSED`. */
  close(): Promise<void>;
}
