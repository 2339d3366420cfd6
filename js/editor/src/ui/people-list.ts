/** Who has the document open, and what they want to be called. */

import { MAX_NAME, type Person } from '../presence.ts';
import { h, setText } from './dom.ts';
import { colourOf, nameOf } from './people.ts';

export class PeopleList {
  readonly #count = h('p', { class: 'aside' });
  readonly #others = h('ul', { class: 'people', role: 'list' });
  readonly #name: HTMLInputElement;
  readonly #rows = new Map<string, HTMLElement>();
  readonly element: HTMLElement;

  /** `named` is called with the name that the user gives themselves. */
  constructor(name: string, named: (name: string) => string) {
    this.#name = h('input', {
      id: 'my-name',
      maxlength: String(MAX_NAME),
      placeholder: 'Your name',
      autocomplete: 'nickname',
      enterkeyhint: 'done',
      spellcheck: 'false',
    });
    this.#name.value = name;
    this.#name.addEventListener('change', () => {
      this.#name.value = named(this.#name.value);
    });
    const you = h('span', { class: 'person', 'data-colour': '0' }, this.#name, 'you');
    const label = h('label', { class: 'sr-only', for: 'my-name' }, 'Your name, for the others');
    this.element = h(
      'section',
      { class: 'part', 'aria-labelledby': 'people-title' },
      h('div', { class: 'part-head' }, h('h2', { id: 'people-title' }, 'Here now'), this.#count),
      label,
      you,
      this.#others,
    );
  }

  draw(people: readonly Person[]): void {
    setText(this.#count, people.length === 0 ? 'only you' : `you and ${people.length} more`);
    for (const [id, row] of this.#rows) {
      if (people.some((person) => person.id === id)) continue;
      row.remove();
      this.#rows.delete(id);
    }
    for (const { id, client, name } of people) {
      let row = this.#rows.get(id);
      if (!row) {
        const colour = String(colourOf(client, undefined));
        row = h('li', { class: 'person', 'data-colour': colour });
        this.#rows.set(id, row);
        this.#others.append(row);
      }
      setText(row, name || nameOf(client, undefined));
    }
  }
}
