/** A document's past: the text of every version that the replicas still know, and who made it when. */

import { type ChangeSet, Text } from '@codemirror/state';
import type { Client } from 'webbft';
import { serviceError } from './errors.ts';
import type { EditEvent, EditorService } from './service.ts';
import { toChanges } from './spans.ts';
import { textOf } from './sync.ts';

/** One version. The oldest known has no edit. */
export interface Moment {
  readonly version: number;
  readonly text: Text;
  /** What made it of the version before. */
  readonly edit: {
    readonly author: string;
    readonly time: Date;
    readonly changes: ChangeSet;
  } | null;
}

/** Neighbouring edits of one author. */
export interface Stretch {
  readonly author: string;
  readonly edits: number;
}

/** All versions from the oldest known on. */
export class DocumentHistory {
  readonly #moments: Moment[];

  /** Throws a RangeError where an edit does not fit the text before it. */
  constructor(oldest: number, text: string, edits: readonly EditEvent[]) {
    this.#moments = [{ version: oldest, text: textOf(text), edit: null }];
    for (const edit of edits) this.add(edit);
  }

  /** Takes in the next edit; throws a RangeError where it is another one, or does not fit. */
  add({ version, author, time, spans }: EditEvent): void {
    const last = this.at(this.latest);
    if (version !== last.version + 1) {
      throw new RangeError(`version ${version} after ${last.version}`);
    }
    const changes = toChanges(spans, last.text.length);
    // Ropes share what they have in common, so that a thousand texts take little more than one.
    const edit = { author, time: new Date(time / 1000), changes };
    this.#moments.push({ version, text: changes.apply(last.text), edit });
  }

  get oldest(): number {
    return this.#moments[0]?.version ?? 0;
  }

  get latest(): number {
    return this.oldest + this.#moments.length - 1;
  }

  /** The version, or the nearest that is known. */
  at(version: number): Moment {
    const index = Math.min(Math.max(version, this.oldest), this.latest) - this.oldest;
    return this.#moments[index] ?? { version: 0, text: Text.empty, edit: null };
  }

  /** Who wrote, one stretch after the other. */
  get stretches(): Stretch[] {
    const stretches: { author: string; edits: number }[] = [];
    for (const { edit } of this.#moments) {
      if (!edit) continue;
      const last = stretches.at(-1);
      if (last?.author === edit.author) last.edits += 1;
      else stretches.push({ author: edit.author, edits: 1 });
    }
    return stretches;
  }
}

/** The oldest version may be given up between the two questions of [`readHistory`]. */
const ATTEMPTS = 3;

/** Reads the past of `doc`. Rejects as the client's calls do. */
export async function readHistory(
  client: Pick<Client<EditorService>, 'invokeUnordered'>,
  doc: string,
): Promise<DocumentHistory> {
  for (let attempt = 1; ; attempt += 1) {
    const { oldest, text } = await client.invokeUnordered('history', { doc });
    try {
      const { edits } = await client.invokeUnordered('since', { doc, version: oldest });
      return new DocumentHistory(oldest, text, edits);
    } catch (error) {
      if (serviceError(error)?.code !== 'tooOld' || attempt === ATTEMPTS) throw error;
    }
  }
}
