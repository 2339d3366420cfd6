/**
 * What each replica says of itself at `/status.json`, asked again and again. It is one replica's
 * word, sent without a MAC: the panel shows it as such, and believes a leader that f + 1 name.
 */

import type { Replica, Status } from 'webbft';

/** One replica's word about itself. */
export interface Report {
  /** The number of its view. */
  readonly view: number;
  /** How many leaders were deposed before this one. */
  readonly regency: number;
  /** The id of the replica that it takes for the leader. */
  readonly leader: number;
  /** The last consensus instance that it executed. */
  readonly lastCid: number;
  /** Whether it only learns so far and does not vote. */
  readonly learner: boolean;
  /** The state that it fetches, in chunks; 0 in all while that is not known. */
  readonly transfer?: { readonly held: number; readonly chunks: number };
}

/** A leader on which f + 1 replicas agree. */
export interface Leader {
  readonly regency: number;
  readonly replica: number;
}

const INTERVAL_MS = 1_000;
const TIMEOUT_MS = 2_500;

const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && Number(value) >= 0;

/** The report in a replica's JSON; null where it is none. */
export function parseReport(json: unknown): Report | null {
  if (typeof json !== 'object' || json === null) return null;
  const { view, regency, leader, lastCid, learner, transfer } = json as Record<string, unknown>;
  if (!isCount(view) || !isCount(regency) || !isCount(leader) || !isCount(lastCid)) return null;
  const { held, chunks } = (transfer ?? {}) as Record<string, unknown>;
  return {
    view,
    regency,
    leader,
    lastCid,
    learner: learner === true,
    ...(isCount(held) && isCount(chunks) ? { transfer: { held, chunks } } : {}),
  };
}

/** The latest leader that `needed` of the reports name. */
export function agreedLeader(reports: Iterable<Report>, needed: number): Leader | null {
  const counts = new Map<string, number>();
  let found: Leader | null = null;
  for (const { regency, leader } of reports) {
    const key = `${regency} ${leader}`;
    const count = (counts.get(key) ?? 0) + 1;
    counts.set(key, count);
    if (count >= needed && (!found || regency > found.regency)) {
      found = { regency, replica: leader };
    }
  }
  return found;
}

/** Where a replica tells its status: beside its WebSocket. */
function statusUrl(webSocket: string): string {
  const url = new URL(webSocket);
  url.protocol = url.protocol === 'wss:' ? 'https:' : 'http:';
  return new URL('status.json', url).href;
}

/** Asks all connected replicas while the page is visible. */
export class Reports {
  readonly #status: () => Status;
  readonly #changed: () => void;
  readonly #reports = new Map<number, Report>();
  /** The latest instance that any replica named one round ago. */
  #reached = 0;
  #leader: Leader | null = null;

  constructor(status: () => Status, changed: () => void) {
    this.#status = status;
    this.#changed = changed;
  }

  /** The last report of a replica that is connected. */
  of(replica: number): Report | undefined {
    return this.#reports.get(replica);
  }

  /** How many instances a replica lacks of those that another one had a round ago. */
  behind(replica: number): number {
    return Math.max(0, this.#reached - (this.#reports.get(replica)?.lastCid ?? this.#reached));
  }

  /** The leader that f + 1 replicas named last. */
  get leader(): Leader | null {
    return this.#leader;
  }

  /** Asks from now on. */
  start(): void {
    const round = async () => {
      if (document.visibilityState === 'visible') {
        const { replicas, f } = this.#status();
        this.#reached = Math.max(0, ...[...this.#reports.values()].map(({ lastCid }) => lastCid));
        await Promise.all(replicas.map((replica) => this.#ask(replica)));
        this.#leader = agreedLeader(this.#reports.values(), f + 1) ?? this.#leader;
        this.#changed();
      }
      setTimeout(round, INTERVAL_MS);
    };
    void round();
  }

  async #ask({ id, url, state }: Replica): Promise<void> {
    let report: Report | null = null;
    if (state === 'open') {
      try {
        const signal = AbortSignal.timeout(TIMEOUT_MS);
        const response = await fetch(statusUrl(url), { cache: 'no-store', signal });
        report = parseReport(await response.json());
      } catch {
        // Not reachable, paused, or not willing to tell: the card then says less.
      }
    }
    if (report) this.#reports.set(id, report);
    else this.#reports.delete(id);
  }
}
