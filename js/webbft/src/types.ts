import type { Codec } from './codec.js';
import type { TransportKind } from './transport/auto.js';
import type { WebSocketConstructor } from './transport/websocket.js';

/** The operations and events of a service, by name. An interface of your service extends this. */
export interface Service {
  /** By name: what is sent without the name, and what comes back where the service agrees. */
  ops: Record<
    string,
    {
      /** The request; an object, or undefined where the operation takes nothing. */
      // biome-ignore lint/suspicious/noExplicitAny: any request
      req: any;
      /** The result. */
      // biome-ignore lint/suspicious/noExplicitAny: any result
      res: any;
    }
  >;
  /** By topic: what is published on it. */
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
      /** What it cannot encode rejects with `INPUT`. */
      readonly req: Codec<S['ops'][K]['req']>;
      /** What it cannot decode rejects with `DECODE`; the operation was executed. */
      readonly res: Codec<S['ops'][K]['res']>;
    };
  };
  /** An event that cannot be decoded ends the subscription with `DECODE`. */
  readonly events?: { readonly [K in Ev<S>]?: Codec<S['events'][K]> };
}

/** A member of a view. */
export interface Member {
  /** Its id, 0 to 65535; other than its position in the view. */
  readonly id: number;
  /** Its WebSocket, `ws://` or `wss://`; links over HTTP are at the same address. */
  readonly url: string;
  /** Where its peers reach it; of no use to a client. */
  readonly peerAddress?: string;
  /** Its Ed25519 public key: 32 bytes in hexadecimal. */
  readonly publicKey: string;
  /** Its static X25519 public key, 32 bytes in hexadecimal: what proves to a client who it is. */
  readonly noiseKey: string;
}

/**
 * The replicas of a service and all that is needed to talk to them: what `webbft init` writes.
 * Starting with one that is none rejects with `VIEW`, and says which field is wrong.
 */
export interface View {
  /** The service's id: 16 bytes in hexadecimal. */
  readonly service: string;
  /** Views of a service are numbered: 0, 1, 2, … */
  readonly number: number;
  /** How many members may be faulty: at most (n - 1) / 3 of n. */
  readonly f: number;
  /** The MAC of every message on a link; `'hmac-sha256'` unless said. */
  readonly mac?: 'hmac-sha256' | 'hmac-sha1';
  /** The first consensus instance that this view orders; 1 unless said. */
  readonly activation?: number;
  /** The digest of the view before it: 32 bytes in hexadecimal, all zero unless said. */
  readonly previous?: string;
  /** 1 to 64 replicas, each with an address and keys of its own. */
  readonly members: readonly Member[];
}

/** Replica ids by how each voted. */
export interface Quorum {
  /** How many must match. */
  readonly needed: number;
  /** Said what was agreed. */
  readonly matching: readonly number[];
  /** Said something else. */
  readonly differing: readonly number[];
  /** Have not answered so far. */
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
  /** Names the call in the events `votes` and `suspect`. */
  readonly id: string;
  /** The value, and who agreed on it; rejects with what the call rejects with. */
  verified(): Promise<{
    /** The agreed value. */
    value: T;
    /** Who said what. */
    evidence: Evidence;
  }>;
}

/**
 * What speaks against a replica:
 * - `divergent`: it said something else than was agreed
 * - `bad-auth`: it does not prove the key in the view, or a MAC is wrong
 * - `silent`: its link is open, but it does not answer
 * - `protocol`: what it sent is no message, or none that is allowed
 */
export type SuspectReason = 'divergent' | 'bad-auth' | 'silent' | 'protocol';

/** One replica as this client sees it. */
export interface Replica {
  /** Its id in the view. */
  readonly id: number;
  /** Its address in the view. */
  readonly url: string;
  /**
   * Its link: being opened; open and proved to be its; lost or refused, and waiting until it is
   * dialled again; or closed with the client.
   */
  readonly state: 'connecting' | 'open' | 'waiting' | 'closed';
  /** What carries its link, or is to; absent while there is none. */
  readonly transport?: TransportKind;
  /** The round-trip time of the latest ping, in milliseconds; absent before the first. */
  readonly rttMs?: number;
  /** While `waiting`: when it is dialled again, in milliseconds as of `Date.now()`. */
  readonly retryAt?: number;
  /** What speaks against it; absent while nothing does. */
  readonly suspect?: {
    /** What it was last suspected of. */
    readonly reason: SuspectReason;
    /** How often it was. */
    readonly count: number;
    /** When it last was, in milliseconds as of `Date.now()`. */
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
  /** Where the client stands, in one word. */
  readonly phase: Phase;
  /** The view's number; 0 while the view is not known. */
  readonly viewId: number;
  /** How many replicas the view has; 0 while it is not known. */
  readonly n: number;
  /** How many of them may be faulty. */
  readonly f: number;
  /** Replicas with an open link. */
  readonly connected: number;
  /** The quorum: as many as must be connected, and must match; 0 before the start and after the end. */
  readonly needed: number;
  /** Unfinished calls. */
  readonly pending: number;
  /** Each member of the view, in its order. */
  readonly replicas: readonly Replica[];
}

/** What a client tells besides results; `type` says which of these it is. */
export type ClientEvent =
  | {
      /** The status has changed. */
      readonly type: 'status';
      /** The new one, which `client.status` is too. */
      readonly status: Status;
    }
  | {
      /** The client has gone on to another view. */
      readonly type: 'view';
      /** The number of the view before. */
      readonly from: number;
      /** The number of the view now. */
      readonly to: number;
      /** Ids of replicas that are new. */
      readonly joined: readonly number[];
      /** Ids of replicas that are no longer members. */
      readonly left: readonly number[];
    }
  | {
      /** A lost link is dialled again. */
      readonly type: 'reconnect';
      /** The replica's id. */
      readonly replica: number;
      /**
       * Why now: its pause is over, the browser is online, the page is visible (or out of the
       * browser's cache), or `reconnectNow()`.
       */
      readonly cause: 'backoff' | 'online' | 'visible' | 'manual';
    }
  | {
      /** Something speaks against a replica. */
      readonly type: 'suspect';
      /** Its id. */
      readonly replica: number;
      /** What. */
      readonly reason: SuspectReason;
      /** The `id` of the call during which it was noticed, if it was during one. */
      readonly call?: string;
    }
  | {
      /** Events of a topic are lost: read the state anew. */
      readonly type: 'gap';
      /** The topic. */
      readonly event: string;
      /** The number of the first event that is lost. */
      readonly missedFrom: bigint;
      /** The number of the first one after them. */
      readonly next: bigint;
    }
  | {
      /** The votes on a call or an event are known, or more of them. */
      readonly type: 'votes';
      /** `late` replaces the votes given before for the same call or event. */
      readonly kind: 'call' | 'event' | 'late';
      /** The call's `id`; for an event, what names the subscription. */
      readonly call: string;
      /** For an event: its topic. */
      readonly event?: string;
      /** For an event: its number in the topic. */
      readonly number?: bigint;
      /** Who said what. */
      readonly evidence: Evidence;
    };

/** Options of one call. */
export interface CallOptions {
  /** Ends the waiting: the call rejects with `ABORTED`; `outcome` says what may still happen. */
  readonly signal?: AbortSignal;
  /**
   * How long the call may take, in milliseconds, instead of the client's `timeoutMs`. After that it
   * rejects with `TIMEOUT`, or with `NO_QUORUM` where too few replicas could be reached.
   */
  readonly timeoutMs?: number;
  /** Without a quorum: wait for one (the default), or fail at once with `OFFLINE`. */
  readonly offline?: 'queue' | 'fail';
}

/** One event. */
export interface Message<T> {
  /** What was published. */
  readonly value: T;
  /** Its number in the topic: 1, 2, 3, … */
  readonly number: bigint;
  /** Who said what; f + 1 matching replicas suffice. */
  readonly evidence: Evidence;
  /** Events before this one are lost: read the state anew. */
  readonly gapBefore: boolean;
}

/** Options of a subscription. */
export interface SubscribeOptions {
  /** Ends the subscription with `ABORTED`. */
  readonly signal?: AbortSignal;
  /** How many events may wait for the iterator; 1024 unless said. A listener needs none. */
  readonly buffer?: number;
  /** What happens beyond that: the subscription ends with `OVERFLOW` (default), or loses events. */
  readonly overflow?: 'error' | 'drop-oldest';
}

/** A subscription: iterate it, or give a listener. */
export interface Subscription<T> extends AsyncIterable<Message<T>>, AsyncDisposable {
  /** Settles once the replicas agree that events will come. */
  readonly ready: Promise<void>;
  /** Settles when it is over: with the error that ended it, or with nothing. */
  readonly closed: Promise<Error | undefined>;
  /**
   * Ends it: no event is delivered from now on. Settles when the replicas have agreed to that;
   * rejects where they do not in time.
   */
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
  /** How much it matters. */
  readonly level: 'error' | 'warn' | 'info' | 'debug';
  /** What happened. */
  readonly msg: string;
  /** To what: addresses, errors. */
  readonly fields: Record<string, unknown>;
}

/** What a client is made of. */
export interface Options<S extends Service = Service> {
  /**
   * The service's replicas, or how to get them. A function is called again when f + 1 replicas
   * refuse links because of another view. What is none, or cannot be got, rejects with `VIEW`.
   */
  readonly view: View | (() => Promise<View>);
  /**
   * The client's key: `stored`, made once and kept in IndexedDB for this origin and service (the
   * default where there is IndexedDB; pages share it, each with a session of its own), `ephemeral`,
   * for this client only (the default elsewhere), or the caller's 32-byte private key; `INPUT` where
   * it has another length.
   */
  readonly identity?: 'stored' | 'ephemeral' | Uint8Array;
  /** How payloads are encoded; as JSON unless said. */
  readonly codecs?: Codecs<S>;
  /**
   * What carries the links: WebSockets, and HTTP to replicas to which they do not open (`auto`, the
   * default), or one of them only. `INPUT` where there is no WebSocket to use.
   */
  readonly transport?: 'auto' | TransportKind;
  /** How long a call may take, in milliseconds: 1 to a day; 10 000 unless said. */
  readonly timeoutMs?: number;
  /** Unfinished calls beyond which new ones reject with `QUEUE_FULL`: up to 2^20; 1024 unless said. */
  readonly maxQueue?: number;
  /** Pauses before a lost link is dialled again: growing, each drawn at random, without end. */
  readonly reconnect?: {
    /** The first, in milliseconds: 1 to a day; 100 unless said. */
    readonly minMs?: number;
    /** The longest, in milliseconds: 1 to a day; 5000 unless said. */
    readonly maxMs?: number;
    /** Try at once when the page becomes visible; true unless said. */
    readonly onVisible?: boolean;
  };
  /**
   * Where the Wasm is, or the Wasm itself; found beside this package unless said. What cannot be had
   * or is none rejects with `WASM_LOAD`.
   */
  readonly wasm?: WasmSource;
  /** The constructor to use; unless said the global one, or in Node that of the package `ws`. */
  readonly WebSocket?: WebSocketConstructor;
  /** Is called with what is worth knowing when something does not work; nobody unless said. */
  readonly log?: (entry: LogEntry) => void;
}

/** A client of the replicated service `S`. */
export interface Client<S extends Service> extends AsyncDisposable {
  /** Where the client stands: immutable, and a new object on every change. */
  readonly status: Status;
  /** The client's id once it is started: the hash of its public key, in hexadecimal. */
  readonly clientId: string | undefined;
  /**
   * Starts the client and waits for a quorum of replicas, or for all. It rejects with `NO_QUORUM`
   * after `timeoutMs` (`OFFLINE` where there is none at all), or with what makes waiting useless
   * (`VIEW`, `AUTH`, `PROTOCOL`), but the client goes on trying.
   */
  connect(options?: {
    /** Only ends the waiting. */
    readonly signal?: AbortSignal;
    /** For how many replicas: `'quorum'` unless said. */
    readonly wait?: 'quorum' | 'all';
    /** For how long, in milliseconds; the client's `timeoutMs` unless said. */
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
