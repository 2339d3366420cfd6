/** The view of a document's past: its text as of any version, and a slider over the versions. */

import { EditorState, RangeSetBuilder } from '@codemirror/state';
import { Decoration, EditorView, WidgetType } from '@codemirror/view';
import type { DocumentHistory, Moment } from '../history.ts';
import type { EditEvent } from '../service.ts';
import { LINE_SEPARATOR } from '../spans.ts';
import { h, s, setText } from './dom.ts';
import { colourOf, nameOf } from './people.ts';

/** How much of a deleted text is shown. */
const DELETED = 160;

/** A deleted text, where it was. */
class Deleted extends WidgetType {
  readonly #text: string;

  constructor(text: string) {
    super();
    this.#text = text.length > DELETED ? `${text.slice(0, DELETED)}…` : text;
  }

  override eq(other: Deleted): boolean {
    return other.#text === this.#text;
  }

  toDOM(): HTMLElement {
    return h('del', { class: 'cm-past-deleted' }, this.#text);
  }
}

const inserted = Decoration.mark({ tagName: 'ins', class: 'cm-past-inserted' });

/** Marks what a version's edit changed; where it begins. */
function marksOf({ edit }: Moment, before: Moment) {
  const builder = new RangeSetBuilder<Decoration>();
  let first: number | null = null;
  edit?.changes.iterChanges((fromA, toA, fromB, toB) => {
    first ??= fromB;
    if (toA > fromA) {
      const text = before.text.sliceString(
        fromA,
        Math.min(toA, fromA + DELETED + 1),
        LINE_SEPARATOR,
      );
      builder.add(fromB, fromB, Decoration.widget({ widget: new Deleted(text), side: -1 }));
    }
    if (toB > fromB) builder.add(fromB, toB, inserted);
  });
  return { marks: builder.finish(), first };
}

const moment = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });

export interface HistoryOptions {
  readonly history: DocumentHistory;
  /** The id of the page's own user. */
  readonly me: string | undefined;
  readonly doc: string;
  close(): void;
}

export class HistoryView {
  readonly #history: DocumentHistory;
  readonly #me: string | undefined;
  readonly #view: EditorView;
  readonly #slider: HTMLInputElement;
  readonly #which = h('p', { class: 'past-version' });
  readonly #who = h('p', { class: 'past-who' });
  readonly #strip = s('svg', {
    class: 'past-strip',
    preserveAspectRatio: 'none',
    'aria-hidden': 'true',
  });
  readonly element: HTMLElement;

  constructor({ history, me, doc, close }: HistoryOptions) {
    this.#history = history;
    this.#me = me;
    this.#view = new EditorView({ state: this.#stateAt(history.latest).state });
    this.#slider = h('input', {
      type: 'range',
      class: 'past-slider',
      min: String(history.oldest),
      'aria-label': `Version of ${doc}`,
    });
    this.#slider.addEventListener('input', () => this.show(Number(this.#slider.value)));
    const back = h('button', { type: 'button', class: 'button' }, 'Back to now');
    back.addEventListener('click', close);
    const step = (label: string, by: number) => {
      const button = h('button', {
        type: 'button',
        class: 'button past-step',
        'aria-label': label,
      });
      button.append(by < 0 ? '‹' : '›');
      button.addEventListener('click', () => this.show(Number(this.#slider.value) + by));
      return button;
    };
    const bar = h(
      'div',
      { class: 'past-bar' },
      h('div', { class: 'past-words' }, this.#which, back, this.#who),
      h(
        'div',
        { class: 'past-row' },
        step('Previous version', -1),
        h('div', { class: 'past-track' }, this.#strip, this.#slider),
        step('Next version', 1),
      ),
    );
    this.element = h('section', { class: 'past', 'aria-label': 'History' }, this.#view.dom, bar);
    this.element.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') close();
    });
    this.#drawRange();
    this.show(history.latest);
  }

  /** Takes in an edit that was agreed on meanwhile; the latest version goes on being shown. */
  add(event: EditEvent): void {
    const { latest } = this.#history;
    // Older ones were read, and after a gap the history ends where it is.
    if (event.version !== latest + 1) return;
    const shown = Number(this.#slider.value);
    this.#history.add(event);
    this.#drawRange();
    if (shown === latest) this.show(event.version);
    else this.#drawVersion(shown);
  }

  /** The version shown and its text. */
  get shown(): { version: number; text: string } {
    return { version: Number(this.#slider.value), text: this.#view.state.sliceDoc() };
  }

  focus(): void {
    this.#slider.focus();
  }

  destroy(): void {
    this.#view.destroy();
    this.element.remove();
  }

  /** Shows a version, or the nearest one that is known. */
  show(wanted: number): void {
    const { version, edit } = this.#history.at(wanted);
    const { state, first } = this.#stateAt(version);
    this.#view.setState(state);
    if (first !== null) {
      this.#view.dispatch({ effects: EditorView.scrollIntoView(first, { y: 'center' }) });
    }
    this.#slider.value = String(version);
    this.#drawVersion(version);
    const who = edit
      ? `by ${nameOf(edit.author, this.#me)}, ${moment.format(edit.time)}`
      : version === 0
        ? 'empty, before the first edit'
        : 'the oldest that the replicas keep';
    setText(this.#who, who);
    if (edit) this.#who.dataset.colour = String(colourOf(edit.author, this.#me));
    else delete this.#who.dataset.colour;
    this.#slider.setAttribute('aria-valuetext', `Version ${version}, ${who}`);
  }

  #drawVersion(version: number): void {
    setText(this.#which, `Version ${version} of ${this.#history.latest}`);
  }

  #stateAt(version: number) {
    const at = this.#history.at(version);
    const { marks, first } = marksOf(at, this.#history.at(version - 1));
    const state = EditorState.create({
      doc: at.text,
      extensions: [
        EditorState.lineSeparator.of(LINE_SEPARATOR),
        EditorState.readOnly.of(true),
        EditorView.editable.of(false),
        EditorView.lineWrapping,
        EditorView.contentAttributes.of({ 'aria-label': 'Text of that version', tabindex: '0' }),
        EditorView.decorations.of(marks),
      ],
    });
    return { state, first };
  }

  /** The range of the slider, and who wrote when: a stretch of colour for each. */
  #drawRange(): void {
    const { oldest, latest, stretches } = this.#history;
    this.#slider.max = String(latest);
    let from = 0;
    const marks = stretches.map(({ author, edits }) => {
      const x = from;
      from += edits;
      return s('rect', {
        'data-colour': String(colourOf(author, this.#me)),
        x: String(x),
        width: String(edits),
        height: '1',
      });
    });
    this.#strip.setAttribute('viewBox', `0 0 ${Math.max(1, latest - oldest)} 1`);
    this.#strip.replaceChildren(...marks);
  }
}
