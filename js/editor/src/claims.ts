/** Asks replicas that were caught in a lie, each alone, what they would show. */

import type { Replica } from 'webbft';
import { contrast } from './contrast.ts';
import type { Claim } from './ui/replica-card.ts';
import type { Testimony } from './witness.ts';

/** The shortest time between two questions to a replica. */
const PAUSE_MS = 10_000;

/** What was voted; null before there is something. */
export type Voted = () => Testimony | null;

export class Claims {
  readonly #ask: (replica: number) => Promise<Testimony>;
  readonly #voted: Voted;
  readonly #changed: () => void;
  readonly #claims = new Map<number, Claim>();
  /** How often each had been caught when it was asked last, and when that was. */
  readonly #asked = new Map<number, { count: number; at: number }>();

  constructor(ask: (replica: number) => Promise<Testimony>, voted: Voted, changed: () => void) {
    this.#ask = ask;
    this.#voted = voted;
    this.#changed = changed;
  }

  get all(): ReadonlyMap<number, Claim> {
    return this.#claims;
  }

  /** Asks each replica that was caught again since it was asked last. */
  follow(replicas: readonly Replica[]): void {
    const now = performance.now();
    for (const { id, state, suspect } of replicas) {
      if (suspect?.reason !== 'divergent' || state !== 'open') continue;
      const last = this.#asked.get(id);
      if (last && (suspect.count <= last.count || now - last.at < PAUSE_MS)) continue;
      if (!this.#voted()) continue;
      this.#asked.set(id, { count: suspect.count, at: now });
      void this.#question(id);
    }
  }

  async #question(id: number): Promise<void> {
    if (!this.#claims.has(id)) this.#tell(id, { kind: 'asking' });
    try {
      const claimed = await this.#ask(id);
      const voted = this.#voted();
      if (voted) this.#tell(id, compare(voted, claimed));
    } catch {
      this.#tell(id, { kind: 'nothing' });
    }
  }

  #tell(id: number, claim: Claim): void {
    this.#claims.set(id, claim);
    this.#changed();
  }
}

function compare(voted: Testimony, claimed: Testimony): Claim {
  const difference = contrast(voted.text, claimed.text);
  if (difference) return { kind: 'text', ...difference };
  if (voted.version === claimed.version) return { kind: 'same' };
  return { kind: 'version', voted: voted.version, claimed: claimed.version };
}
