import { type Core, type Effects, replay, type Told } from './core.js';
import { type Code, fromCore, type Outcome, WebBftError } from './errors.js';
import { Links } from './links.js';
import type { Feed, Pending } from './pending.js';
import { explained } from './status.js';
import type { Dialler } from './transport/auto.js';
import type { ClientEvent, Evidence, LogEntry, Status, SuspectReason, View } from './types.js';

/** The longest that `setTimeout` can wait. */
const MAX_TIMER_MS = 2 ** 31 - 1;
/** Calls whose ids are kept for late votes; the core keeps fewer. */
const MAX_RECENT = 256;

export type Cause = Extract<ClientEvent, { type: 'reconnect' }>['cause'];

/** What an engine tells its client. */
export interface EngineHost {
  emit(event: ClientEvent): void;
  /** The links, or the number of pending calls, have changed. */
  status(status: Status): void;
  log(level: LogEntry['level'], msg: string, fields: LogEntry['fields']): void;
  /** The core threw what it never should; the error to reject everything with. */
  crashed(thrown: unknown): WebBftError;
}

/** Drives one core: feeds it with time, messages and calls, and does what it wants done. */
export class Engine {
  readonly #host: EngineHost;
  readonly #view: View;
  readonly #links: Links;
  readonly #transport: Dialler;
  #core: Core | undefined;
  /** Calls handed to the core, by its ids. */
  readonly #calls = new Map<number, Pending>();
  /** Subscriptions in force, by the core's ids. */
  readonly #feeds = new Map<number, Feed>();
  /** The core's ids of the latest calls, and ours. */
  readonly #recent = new Map<number, string>();
  readonly #dialled = new Set<number>();
  #cause: Cause = 'backoff';
  #pumping = false;
  /** The votes that the next effect is about. */
  #evidence: Evidence = { viewId: 0, needed: 0, matching: [], differing: [], silent: [] };
  /** Does what the core wants done, and tells what it tells. */
  readonly #effects: Effects = {
    open: (replica) => this.#open(replica),
    send: (replica, bytes) => this.#links.send(replica, bytes),
    close: (replica) => this.#links.close(replica),
    votes: (viewId, needed, votes, cid) => {
      const who = (vote: number) =>
        this.#view.members.flatMap(({ id }, position) => (votes[position] === vote ? id : []));
      this.#evidence = {
        viewId,
        needed,
        matching: who(1),
        differing: who(2),
        silent: who(0),
        ...(cid !== undefined && { order: BigInt(cid) }),
      };
    },
    completed: (call, result) => {
      const evidence = this.#evidence;
      this.#votes('call', call);
      this.#take(call)?.completed(result, evidence);
    },
    failed: (call, code, message, outcome) => {
      if (this.#moved) {
        this.#move(call, outcome as Outcome);
        return;
      }
      const init = { outcome: outcome as Outcome, quorum: this.#evidence };
      this.#votes('call', call);
      const status = code === 'NO_QUORUM' ? this.#core?.status() : undefined;
      const error =
        (status && explained(status, init)) ?? new WebBftError(code as Code, message, init);
      const feed = this.#feeds.get(call);
      this.#feeds.delete(call);
      this.#take(call)?.failed(error);
      feed?.ended(error);
    },
    lateVotes: (call, number) => {
      if (number === undefined) {
        this.#votes('late', call);
      } else {
        const feed = this.#feeds.get(call);
        if (feed) this.#eventVotes('late', feed, number);
      }
    },
    subscribed: (call, next) => {
      const evidence = this.#evidence;
      this.#votes('call', call);
      const pending = this.#take(call);
      if (pending?.feed) this.#feeds.set(call, pending.feed);
      pending?.completed(new Uint8Array(), evidence, BigInt(next));
    },
    event: (call, number, payload) => {
      const feed = this.#feeds.get(call);
      if (!feed) return;
      const evidence = this.#evidence;
      this.#eventVotes('event', feed, number);
      feed.event(BigInt(number), payload, evidence);
    },
    gap: (call, missedFrom, next) => {
      this.#feeds.get(call)?.gap(BigInt(missedFrom), BigInt(next));
    },
    suspect: (replica, reason, of) => {
      const call = of === undefined ? undefined : this.#recent.get(of);
      this.#host.emit({
        type: 'suspect',
        replica,
        reason: reason as SuspectReason,
        ...(call && { call }),
      });
      this.#statusChanged = true;
    },
    statusChanged: () => {
      this.#statusChanged = true;
    },
  };
  /** Calls to be begun by the next engine, once this one ends for it. */
  #moved: Pending[] | undefined;
  #statusChanged = true;
  #status: Status | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAt: number | undefined;

  constructor(core: Core, view: View, transport: Dialler, host: EngineHost) {
    this.#core = core;
    this.#view = view;
    this.#host = host;
    this.#transport = transport;
    this.#links = new Links(transport, {
      opened: (replica) => this.input((core) => core.socketOpened(replica)),
      message: (replica, bytes) => this.input((core) => core.socketMessage(replica, bytes)),
      closed: (replica, reason) => {
        if (reason !== undefined) {
          const url = view.members[replica]?.url;
          const fields = { url, reason: String(reason) };
          host.log('warn', 'the link to a replica failed', fields);
        }
        this.input((core) => core.socketClosed(replica));
      },
    });
  }

  /** Calls that are not settled. */
  get pending(): number {
    return this.#calls.size;
  }

  get clientId(): string | undefined {
    return this.#core?.clientId;
  }

  /** Dials the replicas, and begins the calls made so far. */
  start(calls: readonly Pending[]): void {
    this.#enter((core) => core.start());
    for (const pending of calls) this.#begin(pending);
    this.#pump();
  }

  submit(pending: Pending): void {
    this.#begin(pending);
    this.#pump();
  }

  /** The core answers with the failure, and with what is known of the outcome. */
  cancel(id: string): void {
    for (const [call, pending] of this.#calls) {
      if (pending.id === id) this.input((core) => core.cancel(call));
    }
  }

  /** No event of the subscription is delivered from now on. */
  dropFeed(feed: Feed): number | undefined {
    for (const [call, known] of this.#feeds) {
      if (known === feed) {
        this.#feeds.delete(call);
        return call;
      }
    }
    return undefined;
  }

  networkChanged(cause: Cause): void {
    this.#cause = cause;
    this.#transport.networkChanged();
    this.input((core) => core.networkChanged());
    this.#cause = 'backoff';
  }

  /** Ends it all; what is not settled by the core's own word fails with `error`. */
  close(error: WebBftError): void {
    try {
      if (this.#core) this.#enter((core) => core.close());
    } catch (error) {
      this.#host.log('error', 'crashed while closing', { error });
    }
    // Lets the core say what it knows about the calls that are cut short.
    this.#pump();
    const core = this.#core;
    this.abandon(error);
    if (this.#pumping) queueMicrotask(() => core?.free());
    else core?.free();
  }

  /**
   * Ends it for an engine of another view, whose calls the result is. Not to be called by what is
   * called from here.
   */
  retire(): Pending[] {
    const moved: Pending[] = [...this.#feeds.values()];
    this.#moved = moved;
    for (const call of [...this.#calls.keys()]) this.input((core) => core.cancel(call));
    this.#feeds.clear();
    const core = this.#core;
    this.abandon(new WebBftError('CLOSED', 'the view has changed'));
    core?.free();
    return moved.sort((a, b) => Number(a.id) - Number(b.id));
  }

  /** The core may not be used any more. */
  abandon(error: WebBftError): void {
    this.#core = undefined;
    this.#links.closeAll();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const [calls, feeds] = [[...this.#calls.values()], [...this.#feeds.values()]];
    this.#calls.clear();
    this.#feeds.clear();
    for (const pending of calls) pending.failed(error);
    for (const feed of feeds) feed.ended(error);
  }

  /** One input, and all that follows from it; a crash has reached every caller by the end. */
  input(feed: (core: Core) => void): void {
    if (!this.#core) return;
    try {
      this.#enter(feed);
    } catch (error) {
      if (this.#core) this.#host.log('error', 'the core refused an input', { error });
      return;
    }
    this.#pump();
  }

  #begin(pending: Pending): void {
    try {
      const call = this.#enter((core) => pending.begin(core));
      this.#calls.set(call, pending);
      this.#recent.set(call, pending.id);
      if (this.#recent.size > MAX_RECENT) {
        const [oldest] = this.#recent.keys();
        if (oldest !== undefined) this.#recent.delete(oldest);
      }
    } catch (error) {
      pending.failed(error as WebBftError);
    }
  }

  #enter<T>(feed: (core: Core) => T): T {
    const core = this.#core;
    if (!core) throw new WebBftError('CLOSED', 'the client is closed');
    try {
      core.advance(performance.now(), Date.now());
      return feed(core);
    } catch (thrown) {
      throw fromCore(thrown) ?? this.#host.crashed(thrown);
    }
  }

  /** Does everything the core wants done. */
  #pump(): void {
    // A function of the application that was called from here may have brought us here again.
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      while (this.#core) {
        let told: Told[];
        try {
          told = this.#core.poll();
        } catch (thrown) {
          this.#host.crashed(thrown);
          return;
        }
        if (told.length === 0) break;
        replay(told, this.#effects);
      }
    } finally {
      this.#pumping = false;
    }
    this.#schedule();
    this.#publishStatus();
  }

  #move(call: number, outcome: Outcome): void {
    const pending = this.#take(call);
    if (!pending) return;
    if (pending.again === 'always' || (pending.again === 'unsent' && outcome === 'not-sent')) {
      this.#moved?.push(pending);
    } else {
      const message = 'the view has changed while the call was under way';
      pending.failed(new WebBftError('VIEW', message, { outcome, quorum: this.#evidence }));
    }
  }

  #open(replica: number): void {
    const member = this.#view.members[replica];
    if (!member) return;
    this.#links.open(replica, member.url);
    if (this.#dialled.has(replica)) {
      this.#host.emit({ type: 'reconnect', replica: member.id, cause: this.#cause });
    }
    this.#dialled.add(replica);
  }

  #votes(kind: 'call' | 'late', of: number): void {
    const [call, evidence] = [this.#recent.get(of), this.#evidence];
    if (call !== undefined) this.#host.emit({ type: 'votes', kind, call, evidence });
  }

  #eventVotes(kind: 'event' | 'late', { id: call, topic: event }: Feed, number: number): void {
    const evidence = this.#evidence;
    this.#host.emit({ type: 'votes', kind, call, event, number: BigInt(number), evidence });
  }

  #take(call: number): Pending | undefined {
    const pending = this.#calls.get(call);
    this.#calls.delete(call);
    return pending;
  }

  #schedule(): void {
    const at = this.#core?.nextDeadline();
    if (at === this.#timerAt && this.#timer !== undefined) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#timerAt = at;
    if (at === undefined) return;
    const wait = Math.min(Math.max(0, at - performance.now()), MAX_TIMER_MS);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.input(() => {});
    }, wait);
  }

  #linked(status: Status): Status {
    const replicas = status.replicas.map((replica, position) => {
      const transport = this.#links.kind(position);
      return transport ? { ...replica, transport } : replica;
    });
    return { ...status, replicas };
  }

  #publishStatus(): void {
    const core = this.#core;
    const pending = this.#calls.size;
    if (!core || (!this.#statusChanged && pending === this.#status?.pending)) return;
    const links = this.#statusChanged || !this.#status ? this.#linked(core.status()) : this.#status;
    this.#statusChanged = false;
    this.#status = { ...links, pending };
    this.#host.status(this.#status);
  }
}
