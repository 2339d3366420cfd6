/**
 * Drives a [`Sync`] with a WebBFT client: subscribes, reads, sends one batch at a time, and
 * recovers from gaps and failed calls.
 */

import type { ChangeSet, Text } from '@codemirror/state';
import type { Client, Evidence, Message } from 'webbft';
import { isSurvivable, serviceError } from './errors.ts';
import type { EditEvent, EditorService, ServiceError } from './service.ts';
import { toChanges } from './spans.ts';
import { type Batch, type Incoming, Sync } from './sync.ts';
import { callSubject, eventSubject, type Subject } from './votes.ts';

/** What a session needs of the client. */
export type EditorClient = Pick<
  Client<EditorService>,
  'status' | 'connect' | 'invoke' | 'invokeUnordered' | 'invokeSubscribe' | 'on'
>;

/** An edit on which enough replicas agreed. */
export interface Confirmation {
  readonly version: number;
  readonly evidence: Evidence;
  readonly own: boolean;
  /** By which later votes on it are known. */
  readonly subject: Subject;
  /** From sending to the agreed reply, in milliseconds; only for this page's edits. */
  readonly latencyMs?: number;
}

/** What the page has to do. */
export interface SessionListener {
  /** The first text is there: editing can begin. */
  opened(text: Text): void;
  /** Apply these changes to the visible text; `remote` is false for corrections of own changes. */
  apply(changes: ChangeSet, remote: boolean): void;
  /** An edit has become part of the agreed text; in the order of their versions. */
  accepted(event: EditEvent, agreed: ChangeSet): void;
  /** An edit was agreed on. */
  confirmed(confirmation: Confirmation): void;
  /** The replicas refused the last local changes, which were taken back. */
  refused(error: ServiceError): void;
  /** The session ended: no later call of the client can succeed. */
  failed(error: unknown): void;
  /** Something that the page shows has changed. */
  changed(): void;
}

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 8_000;
/** How long after the reply to an own edit its event may take before it is fetched. */
const EVENT_PATIENCE_MS = 2_000;

/** 128 random bits in hex. */
function randomTag(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** See the module's description. */
export class Session {
  readonly #client: EditorClient;
  readonly #doc: string;
  readonly #topic: `doc/${string}`;
  readonly #listener: SessionListener;
  #sync: Sync | null = null;
  #closed = false;
  #sending = false;
  #catchingUp: Promise<void> | null = null;
  #queued: EditEvent[] = [];
  /** The version that the reply to the batch in flight gave it. */
  #replied: { tag: string; version: number } | null = null;
  #pauseMs = FIRST_PAUSE_MS;
  #wake = new Set<() => void>();
  #hadQuorum = false;

  constructor(client: EditorClient, doc: string, listener: SessionListener) {
    this.#client = client;
    this.#doc = doc;
    this.#topic = `doc/${doc}`;
    this.#listener = listener;
  }

  /** The text's state machine, once the first text is there. */
  get sync(): Sync | null {
    return this.#sync;
  }

  /** Whether there are local changes that the replicas have not confirmed. */
  get pending(): boolean {
    return this.#sync !== null && (this.#sync.inFlight !== null || this.#sync.unsent);
  }

  /** Connects, subscribes, reads the text; resolves when editing can begin or the session failed. */
  async start(): Promise<void> {
    try {
      await this.#open();
    } catch (error) {
      this.#fail(error);
    }
  }

  async #open(): Promise<void> {
    this.#client.on('status', () => this.#statusChanged());
    await this.#persist(async () => {
      await this.#client.connect({ wait: 'quorum' });
    });
    await this.#subscribe();
    const first = await this.#persist(() =>
      this.#client.invokeUnordered('read', { doc: this.#doc }),
    );
    if (!first || this.#closed) return;
    this.#sync = new Sync(first.version, first.text);
    this.#listener.opened(this.#sync.confirmed);
    this.#drainQueue();
    this.#listener.changed();
  }

  /** Takes in what the user changed in the visible text, and sends it as soon as possible. */
  local(changes: ChangeSet): void {
    if (!this.#sync) return;
    this.#sync.local(changes);
    void this.#pump();
    this.#listener.changed();
  }

  /** Ends the session: nothing is sent or applied any more. */
  close(): void {
    this.#closed = true;
    this.#wakeAll();
  }

  async #subscribe(): Promise<void> {
    const subscription = await this.#persist(async () => {
      const attempt = this.#client.invokeSubscribe(this.#topic, (message) => this.#event(message));
      await attempt.ready;
      return attempt;
    });
    void subscription?.closed.then(async () => {
      if (this.#closed) return;
      await this.#subscribe();
      await this.#catchUp();
    });
  }

  #hasQuorum(): boolean {
    const { connected, needed } = this.#client.status;
    return connected >= needed;
  }

  #statusChanged(): void {
    const quorum = this.#hasQuorum();
    const regained = quorum && !this.#hadQuorum;
    this.#hadQuorum = quorum;
    if (regained) {
      this.#pauseMs = FIRST_PAUSE_MS;
      this.#wakeAll();
      if (this.#sync) void this.#catchUp();
    }
    this.#listener.changed();
  }

  #wakeAll(): void {
    const waiting = [...this.#wake];
    this.#wake.clear();
    for (const wake of waiting) wake();
  }

  /** Waits longer each time until something succeeds; a returning quorum ends the wait. */
  #pause(): Promise<void> {
    const ms = this.#pauseMs;
    this.#pauseMs = Math.min(ms * 2, LONGEST_PAUSE_MS);
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#wake.delete(wake);
        resolve();
      }, ms);
      const wake = () => {
        clearTimeout(timer);
        resolve();
      };
      this.#wake.add(wake);
    });
  }

  #fail(error: unknown): void {
    if (this.#closed) return;
    this.close();
    this.#listener.failed(error);
    this.#listener.changed();
  }

  /**
   * Repeats `attempt` until it succeeds; null when the session ended. Only for what may be done
   * twice. Errors of the service are the caller's.
   */
  async #persist<T>(attempt: () => Promise<T>): Promise<T | null> {
    while (!this.#closed) {
      try {
        const value = await attempt();
        this.#pauseMs = FIRST_PAUSE_MS;
        return value;
      } catch (error) {
        if (serviceError(error)) throw error;
        if (!isSurvivable(error) || !error.retryable) {
          this.#fail(error);
          return null;
        }
        await this.#pause();
      }
    }
    return null;
  }

  #event({ value, number, evidence }: Message<EditEvent>): void {
    if (this.#closed) return;
    const own = this.#sync?.inFlight?.tag === value.tag || this.#replied?.tag === value.tag;
    if (!own) {
      const subject = eventSubject(this.#topic, number);
      this.#listener.confirmed({ version: value.version, evidence, own: false, subject });
    }
    if (!this.#sync || this.#catchingUp) {
      this.#queued.push(value);
    } else {
      this.#accept(value);
    }
    this.#listener.changed();
  }

  #drainQueue(): void {
    const queued = this.#queued;
    this.#queued = [];
    queued.sort((a, b) => a.version - b.version);
    for (const event of queued) {
      if (this.#catchingUp) {
        this.#queued.push(event);
      } else {
        this.#accept(event);
      }
    }
    void this.#pump();
  }

  #accept(event: EditEvent): void {
    const sync = this.#sync;
    if (!sync) return;
    let incoming: Incoming;
    try {
      incoming = sync.accepted(event);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      // The agreed edit does not fit the text this page holds: only a new read can help.
      void this.#catchUp(true);
      return;
    }
    if (incoming.kind === 'gap') {
      this.#queued.push(event);
      void this.#catchUp();
    } else if (incoming.kind === 'applied') {
      this.#applied(event, incoming);
      void this.#pump();
    }
  }

  #applied(event: EditEvent, { changes, own }: Extract<Incoming, { kind: 'applied' }>): void {
    this.#listener.apply(changes, !own);
    const grown = event.spans.reduce((sum, { from, to, insert }) => {
      return sum + insert.length - (to - from);
    }, 0);
    const before = (this.#sync?.confirmed.length ?? 0) - grown;
    this.#listener.accepted(event, toChanges(event.spans, before));
  }

  /** Fetches the edits that are missing, or with `anew` the text. One at a time. */
  #catchUp(anew = false): Promise<void> {
    // Begun in a turn of its own: a call makes the client tell its status, and that leads here.
    this.#catchingUp ??= Promise.resolve()
      .then(() => this.#fetchMissing(anew))
      .catch((error: unknown) => this.#fail(error))
      .finally(() => {
        this.#catchingUp = null;
        this.#drainQueue();
        this.#listener.changed();
      });
    return this.#catchingUp;
  }

  async #fetchMissing(anew: boolean): Promise<void> {
    const sync = this.#sync;
    if (!sync) return;
    while (!anew && !this.#closed) {
      const from = sync.version;
      try {
        const missing = await this.#persist(() =>
          this.#client.invokeUnordered('since', { doc: this.#doc, version: from }),
        );
        if (!missing) return;
        for (const event of missing.edits) {
          const incoming = sync.accepted(event);
          if (incoming.kind === 'applied') this.#applied(event, incoming);
        }
        if (sync.version >= missing.version) return;
        // A reply may hold a part only; without progress the text has to be read.
        anew = sync.version === from;
      } catch (error) {
        if (!serviceError(error) && !(error instanceof RangeError)) throw error;
        anew = true;
      }
    }
    await this.#readAnew(sync);
  }

  async #readAnew(sync: Sync): Promise<void> {
    const read = await this.#persist(() =>
      this.#client.invokeUnordered('read', { doc: this.#doc }),
    );
    if (!read || this.#closed) return;
    const tag = sync.inFlight?.tag;
    const executed = this.#replied?.tag === tag && (this.#replied?.version ?? 0) <= read.version;
    this.#listener.apply(sync.reset(read.version, read.text, executed), true);
  }

  /** Sends what is pending, one batch at a time, while there is a quorum to send it to. */
  async #pump(): Promise<void> {
    const sync = this.#sync;
    if (!sync || this.#sending || this.#closed) return;
    this.#sending = true;
    try {
      while (!this.#closed && !sync.inFlight && sync.unsent && this.#hasQuorum()) {
        const repair = sync.repair();
        if (repair) this.#listener.apply(repair, false);
        const batch = sync.take(randomTag());
        this.#listener.changed();
        if (batch) await this.#deliver(sync, batch);
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#sending = false;
    }
  }

  /** Sends `batch` until its fate is known: accepted, refused, or pending again. */
  async #deliver(sync: Sync, batch: Batch): Promise<void> {
    while (!this.#closed && sync.inFlight?.tag === batch.tag) {
      const sent = performance.now();
      try {
        const call = this.#client.invoke('edit', { doc: this.#doc, ...batch });
        const { value, evidence } = await call.verified();
        if (this.#closed) return;
        this.#pauseMs = FIRST_PAUSE_MS;
        this.#replied = { tag: batch.tag, version: value.version };
        const latencyMs = performance.now() - sent;
        this.#listener.confirmed({
          version: value.version,
          evidence,
          own: true,
          subject: callSubject(call.id),
          latencyMs,
        });
        this.#fetchUnlessSeen(sync, value.version);
        return;
      } catch (error) {
        await this.#deliveryFailed(sync, error);
      }
    }
  }

  async #deliveryFailed(sync: Sync, error: unknown): Promise<void> {
    if (this.#closed) return;
    if (!isSurvivable(error)) {
      this.#fail(error);
      return;
    }
    const refusal = serviceError(error);
    if (refusal?.code === 'tooOld' || refusal?.code === 'future') {
      sync.putBack();
      await this.#catchUp();
      await this.#pause();
    } else if (refusal || error.outcome === 'not-executed' || error.code === 'FAULT') {
      this.#refused(sync, refusal ?? { code: error.code, message: error.message });
    } else if (error.outcome !== 'not-sent') {
      await this.#settle();
    } else if (error.retryable) {
      sync.putBack();
      await this.#pause();
    } else {
      this.#refused(sync, { code: error.code, message: error.message });
    }
    this.#listener.changed();
  }

  #refused(sync: Sync, error: ServiceError): void {
    this.#listener.apply(sync.revert(), false);
    this.#listener.refused(error);
  }

  /**
   * Finds out what became of a batch that may have been executed, or may still be. Operations of
   * a session are executed in the order of their numbers, so once a read in the total order has
   * an answer, nothing sent before it is still to come. The edits accepted so far then tell: if
   * the batch's tag is among them, it is no longer in flight afterwards; if not, it is sent again.
   */
  async #settle(): Promise<void> {
    await this.#pause();
    await this.#persist(() => this.#client.invoke('read', { doc: this.#doc }));
    await this.#catchUp();
  }

  /** The reply came; should the event stay away, it is fetched. */
  #fetchUnlessSeen(sync: Sync, version: number): void {
    if (sync.version >= version) return;
    setTimeout(() => {
      if (!this.#closed && sync.version < version) void this.#catchUp();
    }, EVENT_PATIENCE_MS);
  }
}
