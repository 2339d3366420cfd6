/** The CodeMirror component: the visible text, marks for what is new and what is unconfirmed. */

import { defaultKeymap, history, historyKeymap } from '@codemirror/commands';
import {
  Annotation,
  type ChangeSet,
  Compartment,
  EditorState,
  Prec,
  RangeSetBuilder,
  StateEffect,
  StateField,
  type Text,
  Transaction,
} from '@codemirror/state';
import { Decoration, type DecorationSet, EditorView, keymap, placeholder } from '@codemirror/view';
import type { Selection } from '../presence.ts';
import { LINE_SEPARATOR } from '../spans.ts';
import { type Cursor, cursors, showCursors } from './cursors.ts';

/** How long a remote edit stays highlighted; the style sheet fades it out in this time. */
const HIGHLIGHT_MS = 1_800;

/** Marks transactions that do not come from the user. */
const fromReplicas = Annotation.define<true>();

const setUnconfirmed = StateEffect.define<readonly { from: number; to: number }[]>();
const unconfirmedMark = Decoration.mark({ class: 'cm-unconfirmed' });

/** What the replicas have not confirmed yet. */
const unconfirmed = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(marks, transaction) {
    let result = marks.map(transaction.changes);
    for (const effect of transaction.effects) {
      if (!effect.is(setUnconfirmed)) continue;
      const builder = new RangeSetBuilder<Decoration>();
      for (const { from, to } of effect.value) builder.add(from, to, unconfirmedMark);
      result = builder.finish();
    }
    return result;
  },
  provide: (field) => EditorView.decorations.from(field),
});

const highlightBatch = Annotation.define<number>();
const forget = StateEffect.define<number>();

/** What others wrote just now. */
const highlights = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(marks, transaction) {
    let result = marks.map(transaction.changes);
    for (const effect of transaction.effects) {
      if (!effect.is(forget)) continue;
      result = result.update({ filter: (_from, _to, mark) => mark.spec.batch !== effect.value });
    }
    const batch = transaction.annotation(highlightBatch);
    if (batch !== undefined) {
      const mark = Decoration.mark({ class: 'cm-remote', batch });
      transaction.changes.iterChangedRanges((_fromA, _toA, from, to) => {
        if (to > from) result = result.update({ add: [mark.range(from, to)] });
      });
    }
    return result;
  },
  provide: (field) => EditorView.decorations.from(field),
});

export interface EditorOptions {
  readonly parent: HTMLElement;
  readonly text: Text;
  readonly label: string;
  /** The user changed the text. */
  changed(changes: ChangeSet): void;
  /** The selection is elsewhere than before. */
  moved(): void;
}

export class Editor {
  readonly #view: EditorView;
  readonly #editable = new Compartment();
  #batches = 0;
  #marked = '';
  #others = '[]';

  constructor({ parent, text, label, changed, moved }: EditorOptions) {
    this.#view = new EditorView({
      parent,
      state: EditorState.create({
        doc: text,
        extensions: [
          EditorState.lineSeparator.of(LINE_SEPARATOR),
          history(),
          this.#editable.of([]),
          keymap.of([...defaultKeymap, ...historyKeymap]),
          EditorView.lineWrapping,
          // Pasted text gets the line breaks that it would have got by typing.
          EditorView.clipboardInputFilter.of((pasted) => pasted.replace(/\r\n?/g, '\n')),
          EditorView.contentAttributes.of({
            'aria-label': label,
            // What can be edited has the focus anyhow; when it is frozen, it still has to scroll.
            tabindex: '0',
            spellcheck: 'true',
            autocapitalize: 'sentences',
          }),
          placeholder('Nothing here yet. Write something, and the replicas will agree on it.'),
          unconfirmed,
          highlights,
          cursors,
          Prec.lowest(
            EditorView.updateListener.of((update) => {
              for (const transaction of update.transactions) {
                if (transaction.docChanged && !transaction.annotation(fromReplicas)) {
                  changed(transaction.changes);
                }
              }
              if (update.selectionSet || update.docChanged) moved();
            }),
          ),
        ],
      }),
    });
  }

  get text(): string {
    return this.#view.state.sliceDoc();
  }

  /** Replaces a part of the text as if the user had. */
  replace(from: number, to: number, insert: string): void {
    this.#view.dispatch({ changes: { from, to, insert }, userEvent: 'input.type' });
  }

  /** The user's selection, in the visible text. */
  get selection(): Selection {
    const { anchor, head } = this.#view.state.selection.main;
    return { anchor, head };
  }

  focus(): void {
    this.#view.focus();
  }

  /** Shows where others are. */
  show(others: readonly Cursor[]): void {
    const key = JSON.stringify(others);
    if (key === this.#others) return;
    this.#others = key;
    showCursors(this.#view, others);
  }

  /** Follows the replicas; cursor and undo history move along, and undo skips these changes. */
  apply(changes: ChangeSet, highlight: boolean): void {
    if (changes.empty) return;
    const annotations: Annotation<unknown>[] = [
      fromReplicas.of(true),
      Transaction.addToHistory.of(false),
    ];
    if (highlight) {
      this.#batches += 1;
      const batch = this.#batches;
      annotations.push(highlightBatch.of(batch));
      setTimeout(() => this.#view.dispatch({ effects: forget.of(batch) }), HIGHLIGHT_MS);
    }
    this.#view.dispatch({ changes, annotations });
  }

  /** Marks what the replicas have not confirmed yet. */
  mark(ranges: readonly { from: number; to: number }[]): void {
    const key = ranges.map(({ from, to }) => `${from}-${to}`).join();
    if (key === this.#marked) return;
    this.#marked = key;
    this.#view.dispatch({ effects: setUnconfirmed.of(ranges) });
  }

  /** Ends editing; the text stays readable. */
  freeze(): void {
    const frozen = [EditorState.readOnly.of(true), EditorView.editable.of(false)];
    this.#view.dispatch({ effects: this.#editable.reconfigure(frozen) });
  }
}
