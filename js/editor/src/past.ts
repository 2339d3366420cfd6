/** The button that shows a document's past in place of its text, and the text again. */

import type { Client } from 'webbft';
import { readHistory } from './history.ts';
import type { EditEvent, EditorService } from './service.ts';
import { HistoryView } from './ui/history.ts';

export interface PastOptions {
  readonly client: Pick<Client<EditorService>, 'invokeUnordered' | 'clientId'>;
  readonly doc: string;
  readonly button: HTMLButtonElement;
  /** Where the text is; the past is added to it, and the style sheet hides the text. */
  readonly sheet: HTMLElement;
  /** The text is shown again. */
  closed(): void;
  /** The past cannot be had, and why. */
  failed(reason: string): void;
}

export class Past {
  readonly #options: PastOptions;
  #view: HistoryView | null = null;
  /** What was accepted while the past is being read; null at other times. */
  #meanwhile: EditEvent[] | null = null;

  constructor(options: PastOptions) {
    this.#options = options;
    options.button.addEventListener('click', () => {
      if (this.#view) this.#close(this.#view);
      else if (!this.#meanwhile) void this.#open();
    });
  }

  /** The version shown and its text; null while the text itself is shown. */
  get shown(): { version: number; text: string } | null {
    return this.#view?.shown ?? null;
  }

  /** An edit has become part of the agreed text. */
  accepted(event: EditEvent): void {
    this.#view?.add(event);
    this.#meanwhile?.push(event);
  }

  async #open(): Promise<void> {
    const { client, doc, sheet, failed } = this.#options;
    this.#meanwhile = [];
    try {
      const history = await readHistory(client, doc);
      const close = () => this.#close(view);
      const view = new HistoryView({ history, me: client.clientId, doc, close });
      for (const event of this.#meanwhile) view.add(event);
      this.#view = view;
      sheet.append(view.element);
      view.focus();
    } catch (error) {
      failed(error instanceof Error ? error.message : String(error));
    }
    this.#meanwhile = null;
    this.#mark();
  }

  #close(view: HistoryView): void {
    view.destroy();
    this.#view = null;
    this.#mark();
    this.#options.closed();
  }

  #mark(): void {
    const open = String(this.#view !== null);
    this.#options.button.setAttribute('aria-pressed', open);
    this.#options.sheet.dataset.past = open;
  }
}
