/** Who agreed on the last edit: the dial and its words. */

import type { Evidence } from 'webbft';
import type { Confirmation } from '../session.ts';
import { h, setText } from './dom.ts';
import { Ring } from './ring.ts';
import { type Vote, voteOf } from './words.ts';

const NBSP = '\u00a0';

/** `Confirmed by 3 of 4`. */
export function confirmedBy(evidence: Evidence | null, n: number): string {
  if (!evidence) return 'No edit yet';
  return `Confirmed by ${evidence.matching.length}${NBSP}of${NBSP}${n}`;
}

export class LastEdit {
  readonly #ring = new Ring();
  readonly #count = h('p', { class: 'agreed' });
  readonly #agreed = h('p', { class: 'agreed-what' });
  readonly #edit = h('p', { class: 'agreed-edit' });
  readonly element = h(
    'section',
    { class: 'part last', 'aria-labelledby': 'last-title' },
    h('h2', { id: 'last-title' }, 'Last edit'),
    h(
      'div',
      { class: 'last-row' },
      h('div', { class: 'dial' }, this.#ring.element, this.#count),
      h('div', { class: 'last-words' }, this.#agreed, this.#edit),
    ),
  );

  draw(last: Confirmation | null, evidence: Evidence | null, ids: readonly number[]): void {
    const n = ids.length;
    this.#ring.draw(ids.map((id): Vote => voteOf(id, evidence)));
    setText(this.#agreed, confirmedBy(evidence, n));
    if (!last || !evidence) {
      setText(this.#count, `– / ${n || '–'}`);
      setText(this.#edit, 'Write something: each replica votes on it.');
      return;
    }
    const { needed, matching } = evidence;
    setText(this.#count, `${matching.length} / ${n}`);
    const whose = last.own ? 'Your edit' : 'Someone else’s edit';
    const needs = `${needed} equal votes ${last.own ? 'make it final' : 'show it'}`;
    setText(this.#edit, `${whose}, version${NBSP}${last.version}. ${needs}.`);
  }
}
