/**
 * Who else has the document open, and where they are in it: what pages announce to each other, as a
 * state machine without network, clock or timers of its own.
 *
 * Announcements are no part of the total order: a page says where its cursor is, in the text of a
 * version, and each other page moves that along with the edits accepted since.
 */

import type { ChangeSet } from '@codemirror/state';

/** A selection, in UTF-16 units; `head` is where the cursor is. */
export interface Selection {
  readonly anchor: number;
  readonly head: number;
}

/** What a page announces. */
export interface Whereabouts extends Selection {
  /** Tells the pages of one client apart: windows of a browser share its key. */
  readonly page: string;
  /** What its user wants to be called; empty where they have not said. */
  readonly name: string;
  /** The version in whose text the selection is. */
  readonly version: number;
  /** Its page is being closed. */
  readonly leaves?: true;
}

/** Somebody else who has the document open. */
export interface Person {
  /** Their client's id and their page. */
  readonly id: string;
  /** The id of their client. */
  readonly client: string;
  readonly name: string;
  /** In the confirmed text; null while it cannot be said where that is. */
  readonly selection: Selection | null;
}

/** A page says where it is at least this often, */
export const REPEAT_MS = 4_000;
/** and is taken for gone when it has not for this long. */
const GONE_MS = 3 * REPEAT_MS;
/** A name has no more UTF-16 units. */
export const MAX_NAME = 32;
/** No more people are shown; a service that is open to all cannot keep anybody from being many. */
const MAX_PEOPLE = 50;
/** Edits over which an older selection can be moved. */
const EDITS = 256;

/** A selection in the confirmed text of a version. */
interface Place extends Selection {
  readonly version: number;
}

interface Known {
  readonly client: string;
  readonly name: string;
  readonly place: Place;
  /** Where they were in an earlier version: shown until this page has got that far, too. */
  readonly earlier: Place | null;
  readonly heardAt: number;
}

/** A name without what would confuse others: no control or direction characters, not too long. */
export function tidyName(name: string): string {
  return name
    .replace(/[\p{C}\p{Zl}\p{Zp}]+/gu, ' ')
    .trim()
    .slice(0, MAX_NAME)
    .replace(/[\ud800-\udbff]$/, '');
}

const isPosition = (value: unknown): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;

/** What somebody announced; null where it is not what a page of ours says. */
export function whereabouts(value: unknown): Whereabouts | null {
  if (typeof value !== 'object' || value === null) return null;
  const said = value as Partial<Record<string, unknown>>;
  const { page, name, version, anchor, head, leaves } = said;
  if (typeof page !== 'string' || page.length > MAX_NAME) return null;
  if (typeof name !== 'string' || tidyName(name) !== name) return null;
  if (!isPosition(version) || !isPosition(anchor) || !isPosition(head)) return null;
  return { page, name, version, anchor, head, ...(leaves === true && { leaves }) };
}

/** See the module's description. */
export class Presence {
  readonly #known = new Map<string, Known>();
  /** The edits that led to the last versions, oldest first. */
  #edits: { readonly version: number; readonly changes: ChangeSet }[] = [];

  /** An edit made `version` of the confirmed text before it. */
  accepted(version: number, changes: ChangeSet): void {
    if (this.#edits.at(-1)?.version !== version - 1) this.#edits = [];
    this.#edits.push({ version, changes });
    if (this.#edits.length > EDITS) this.#edits.shift();
  }

  /** Takes in what a client announced. Is it somebody who was not known, or who leaves? */
  hear(client: string, value: unknown, now: number): 'came' | 'left' | 'known' {
    const said = whereabouts(value);
    if (!said) return 'known';
    const id = `${client}/${said.page}`;
    const before = this.#known.get(id);
    if (said.leaves) {
      this.#known.delete(id);
      return before ? 'left' : 'known';
    }
    if (!before && this.#known.size >= MAX_PEOPLE) return 'known';
    const { name, version, anchor, head } = said;
    const earlier = before && before.place.version < version ? before.place : before?.earlier;
    const place = { version, anchor, head };
    this.#known.set(id, { client, name, place, earlier: earlier ?? null, heardAt: now });
    return before ? 'known' : 'came';
  }

  /** Forgets who has not been heard of for long; is anybody gone? */
  forget(now: number): boolean {
    const gone = [...this.#known].filter(([, { heardAt }]) => now - heardAt >= GONE_MS);
    for (const [id] of gone) this.#known.delete(id);
    return gone.length > 0;
  }

  /** Everybody else, with where they are in the confirmed text of `version`, which has `length`. */
  people(version: number, length: number): Person[] {
    return [...this.#known]
      .map(([id, { client, name, place, earlier }]) => {
        const selection =
          this.#moved(place, version, length) ??
          (earlier && place.version > version ? this.#moved(earlier, version, length) : null);
        return { id, client, name, selection };
      })
      .sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  /** Where a place is in the text of `to`; null where that cannot be said. */
  #moved({ version: from, ...place }: Place, to: number, length: number): Selection | null {
    let { anchor, head } = place;
    const edits = this.#edits.filter(({ version }) => version > from && version <= to);
    // It is ahead of this page, or edits in between are not known.
    if (edits.length !== to - from) return null;
    for (const { changes } of edits) {
      if (Math.max(anchor, head) > changes.length) return null;
      [anchor, head] = [changes.mapPos(anchor, 1), changes.mapPos(head, 1)];
    }
    return Math.max(anchor, head) > length ? null : { anchor, head };
  }
}
