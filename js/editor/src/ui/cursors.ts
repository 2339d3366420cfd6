/** Others' cursors and selections in the text. */

import { type EditorState, StateEffect, StateField } from '@codemirror/state';
import { Decoration, type DecorationSet, EditorView, WidgetType } from '@codemirror/view';
import { h } from './dom.ts';

/** Somebody else's cursor, in the visible text. */
export interface Cursor {
  readonly name: string;
  readonly colour: number;
  readonly anchor: number;
  readonly head: number;
}

class Caret extends WidgetType {
  readonly #name: string;
  readonly #colour: number;

  constructor(name: string, colour: number) {
    super();
    this.#name = name;
    this.#colour = colour;
  }

  override eq(other: Caret): boolean {
    return other.#name === this.#name && other.#colour === this.#colour;
  }

  toDOM(): HTMLElement {
    const attributes = { class: 'cm-caret', 'data-colour': String(this.#colour) };
    // The list of people says who is here; a screen reader reads the text alone.
    const caret = h('span', { ...attributes, 'aria-hidden': 'true' });
    caret.append(h('span', { class: 'cm-caret-name' }, this.#name));
    return caret;
  }

  override ignoreEvent(): boolean {
    return true;
  }
}

const setCursors = StateEffect.define<readonly Cursor[]>();

function decorations(cursors: readonly Cursor[], state: EditorState): DecorationSet {
  const within = (position: number) => Math.min(position, state.doc.length);
  const ranges = cursors.flatMap(({ name, colour, anchor, head }) => {
    const [from, to] = [within(Math.min(anchor, head)), within(Math.max(anchor, head))];
    const caret = Decoration.widget({ widget: new Caret(name, colour), side: -1 });
    const attributes = { 'data-colour': String(colour) };
    const mark = Decoration.mark({ class: 'cm-others-selection', attributes });
    return [...(to > from ? [mark.range(from, to)] : []), caret.range(within(head))];
  });
  return Decoration.set(ranges, true);
}

/** Draws what [`showCursors`] says, and moves it along with the text until that says otherwise. */
export const cursors = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(shown, transaction) {
    let result = shown.map(transaction.changes);
    for (const effect of transaction.effects) {
      if (effect.is(setCursors)) result = decorations(effect.value, transaction.state);
    }
    return result;
  },
  provide: (field) => EditorView.decorations.from(field),
});

export function showCursors(view: EditorView, shown: readonly Cursor[]): void {
  view.dispatch({ effects: setCursors.of(shown) });
}
