/**
 * Keeps one page's text in step with the replicas, as a pure state machine: no network, clock or
 * randomness of its own.
 *
 * What the user sees is `confirmed` (the text of `version`, on which the replicas agree), then the
 * batch in flight (sent, not yet seen to be accepted), then the pending changes (not yet sent):
 * `visible = confirmed · inFlight · pending`. Replicas rebase an edit over the edits accepted since
 * its base with the accepted insertion first; mapping the batch in flight over each incoming edit
 * by the same rule keeps it equal to what they will make of it.
 */

import { ChangeSet, Text } from '@codemirror/state';
import type { EditEvent, EditRequest } from './service.ts';
import {
  difference,
  LINE_SEPARATOR,
  repairInserted,
  toChanges,
  toSpans,
  wholeCharacters,
} from './spans.ts';

/** What is sent of an [`EditRequest`]; the document's name is the caller's. */
export type Batch = Omit<EditRequest, 'doc'>;

interface InFlight {
  /** As it was sent: a repetition must be the same edit. */
  readonly batch: Batch;
  /** The batch, rebased so that it applies to `confirmed`. */
  readonly changes: ChangeSet;
}

/** What became of an incoming edit. */
export type Incoming =
  /** Already known. */
  | { readonly kind: 'old' }
  /** Edits before it are missing: catch up first. */
  | { readonly kind: 'gap' }
  /** Applied. `changes` is what the visible text has to follow with, `own` the batch in flight. */
  | { readonly kind: 'applied'; readonly changes: ChangeSet; readonly own: boolean };

/** The text for the service's UTF-16 string. */
export function textOf(value: string): Text {
  return Text.of(value.split(LINE_SEPARATOR));
}

/** See the module's description. */
export class Sync {
  #version: number;
  #confirmed: Text;
  #inFlight: InFlight | null = null;
  #pending: ChangeSet;

  /** Starts from the agreed `text` of `version`. */
  constructor(version: number, text: string) {
    this.#version = version;
    this.#confirmed = textOf(text);
    this.#pending = ChangeSet.empty(this.#confirmed.length);
  }

  /** The version that the replicas have confirmed to this page. */
  get version(): number {
    return this.#version;
  }

  /** The text of [`Sync.version`]. */
  get confirmed(): Text {
    return this.#confirmed;
  }

  /** The batch that was sent and not yet seen to be accepted, as it was sent. */
  get inFlight(): Batch | null {
    return this.#inFlight?.batch ?? null;
  }

  /** Whether there are changes that have not been sent. */
  get unsent(): boolean {
    return !this.#pending.empty;
  }

  /** The text the user sees. */
  get visible(): Text {
    return this.#unconfirmed().apply(this.#confirmed);
  }

  /** Where the visible text contains what the replicas have not confirmed; ascending. */
  unconfirmedRanges(): { from: number; to: number }[] {
    const ranges: { from: number; to: number }[] = [];
    this.#unconfirmed().iterChangedRanges((_fromA, _toA, from, to) => {
      if (to > from) ranges.push({ from, to });
    });
    return ranges;
  }

  /** Where in the confirmed text a position of the visible text is. */
  toConfirmed(position: number): number {
    return this.#unconfirmed().invertedDesc.mapPos(position);
  }

  /** Where in the visible text a position of the confirmed text is. */
  toVisible(position: number): number {
    return this.#unconfirmed().mapPos(position, 1);
  }

  /** Takes in what the user changed; `changes` apply to the visible text. */
  local(changes: ChangeSet): void {
    if (changes.empty) return;
    this.#pending = this.#pending.compose(wholeCharacters(changes, this.visible));
  }

  /**
   * Repairs what cannot be sent (see [`repairInserted`]). Call it before [`Sync.take`]; the
   * visible text has to follow with the changes returned.
   */
  repair(): ChangeSet | null {
    const repair = repairInserted(this.#pending);
    if (repair) this.#pending = this.#pending.compose(repair);
    return repair;
  }

  /** Puts everything pending in flight under `tag`; null while a batch is in flight, or nothing is new. */
  take(tag: string): Batch | null {
    if (this.#inFlight || this.#pending.empty) return null;
    const spans = toSpans(this.#pending);
    // Through the spans, so that page and replicas rebase one and the same representation.
    const changes = toChanges(spans, this.#confirmed.length);
    const batch = { base: this.#version, tag, spans };
    this.#inFlight = { batch, changes };
    this.#pending = ChangeSet.empty(changes.newLength);
    return batch;
  }

  /** The batch in flight was certainly not executed: it joins the pending changes again. */
  putBack(): void {
    if (!this.#inFlight) return;
    this.#pending = this.#inFlight.changes.compose(this.#pending);
    this.#inFlight = null;
  }

  /** The replicas refused the batch in flight for good: takes it out of the visible text. */
  revert(): ChangeSet {
    if (!this.#inFlight) return ChangeSet.empty(this.#pending.newLength);
    const undone = this.#inFlight.changes.invert(this.#confirmed);
    this.#inFlight = null;
    return this.#rebasePending(undone);
  }

  /**
   * Takes in an accepted edit, the own one included.
   *
   * Throws a RangeError, and changes nothing, when its spans do not fit the confirmed text.
   */
  accepted(event: EditEvent): Incoming {
    if (event.version <= this.#version) return { kind: 'old' };
    if (event.version > this.#version + 1) return { kind: 'gap' };
    const changes = toChanges(event.spans, this.#confirmed.length);
    if (this.#inFlight?.batch.tag === event.tag) {
      return { kind: 'applied', changes: this.#acknowledge(changes), own: true };
    }
    const visible = this.#remote(changes);
    this.#advance(changes);
    return { kind: 'applied', changes: visible, own: false };
  }

  /**
   * Starts again from a text that was read anew, when the edits in between can no longer be had.
   *
   * `executed` says whether that text contains the batch in flight. Pending changes, and a batch
   * that it does not contain, move over the difference of the two texts and are pending again.
   */
  reset(version: number, text: string, executed: boolean): ChangeSet {
    const fresh = textOf(text);
    let before = this.#confirmed;
    if (executed && this.#inFlight) {
      before = this.#inFlight.changes.apply(before);
      this.#inFlight = null;
    } else {
      this.putBack();
    }
    const visible = this.#rebasePending(difference(before, fresh));
    this.#version = version;
    this.#confirmed = fresh;
    return visible;
  }

  /** The own batch came back. What it did is what the replicas say, not what was foreseen. */
  #acknowledge(changes: ChangeSet): ChangeSet {
    const foreseen = this.#inFlight?.changes.apply(this.#confirmed) ?? this.#confirmed;
    this.#inFlight = null;
    this.#advance(changes);
    if (foreseen.eq(this.#confirmed)) return ChangeSet.empty(this.#pending.newLength);
    return this.#rebasePending(difference(foreseen, this.#confirmed));
  }

  #remote(changes: ChangeSet): ChangeSet {
    if (!this.#inFlight) return this.#rebasePending(changes);
    const { batch, changes: own } = this.#inFlight;
    this.#inFlight = { batch, changes: own.map(changes) };
    return this.#rebasePending(changes.map(own, true));
  }

  /** Moves the pending changes over `changes`, and returns `changes` moved over them. */
  #rebasePending(changes: ChangeSet): ChangeSet {
    const visible = changes.map(this.#pending, true);
    this.#pending = this.#pending.map(changes);
    return visible;
  }

  #advance(changes: ChangeSet): void {
    this.#confirmed = changes.apply(this.#confirmed);
    this.#version += 1;
  }

  #unconfirmed(): ChangeSet {
    return this.#inFlight ? this.#inFlight.changes.compose(this.#pending) : this.#pending;
  }
}
