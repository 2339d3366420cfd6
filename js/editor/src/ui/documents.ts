/** The list of documents, with a form that makes a new one. */

import type { Client } from 'webbft';
import { serviceError } from '../errors.ts';
import type { EditorService } from '../service.ts';
import { h, setText } from './dom.ts';

type Listed = EditorService['ops']['list']['res']['documents'][number];

export interface DocumentsOptions {
  readonly client: Pick<Client<EditorService>, 'invoke' | 'invokeUnordered' | 'invokeSubscribe'>;
  /** The document that is open. */
  readonly doc: string;
  /** A name that the service takes, made of what the user wrote. */
  asName(text: string): string;
  open(doc: string): void;
}

const moment = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });
const count = new Intl.NumberFormat();

/** Why a list or a new document cannot be had. */
function reason(error: unknown): string {
  const message = serviceError(error)?.message ?? (error as Error).message;
  return `${message.charAt(0).toUpperCase()}${message.slice(1)}.`;
}

export class Documents {
  readonly #options: DocumentsOptions;
  readonly #dialog = h('dialog', { class: 'documents', 'aria-labelledby': 'documents-title' });
  readonly #list = h('ul', { class: 'documents-list', role: 'list' });
  readonly #problem = h('p', { class: 'documents-problem', role: 'alert' });
  readonly #name = h('input', {
    id: 'new-document',
    spellcheck: 'false',
    autocomplete: 'off',
    autocapitalize: 'off',
    maxlength: '64',
    placeholder: 'minutes-of-may',
  });
  #following = false;

  constructor(options: DocumentsOptions) {
    this.#options = options;
    const close = h('button', { type: 'button', class: 'button' }, 'Close');
    close.addEventListener('click', () => this.#dialog.close());
    const form = h(
      'form',
      { class: 'documents-new' },
      h('label', { for: 'new-document' }, 'New document'),
      this.#name,
      h('button', { type: 'submit', class: 'button button-main' }, 'Create'),
    );
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      void this.#create();
    });
    this.#dialog.append(
      h('div', { class: 'documents-head' }, h('h2', { id: 'documents-title' }, 'Documents'), close),
      form,
      this.#problem,
      this.#list,
    );
    // A click beside the dialog, which only the dialog itself can be the target of.
    this.#dialog.addEventListener('click', (event) => {
      if (event.target === this.#dialog) this.#dialog.close();
    });
    document.body.append(this.#dialog);
  }

  /** Opens the list and keeps it up to date. */
  show(): void {
    setText(this.#problem, '');
    this.#dialog.showModal();
    if (!this.#following) {
      this.#following = true;
      this.#options.client.invokeSubscribe('docs', () => void this.#read());
    }
    void this.#read();
  }

  async #read(): Promise<void> {
    try {
      const { documents } = await this.#options.client.invokeUnordered('list', {});
      const latest = [...documents].sort((a, b) => b.changed - a.changed);
      this.#list.replaceChildren(...latest.map((listed) => this.#entry(listed)));
    } catch (error) {
      setText(this.#problem, reason(error));
    }
  }

  #entry({ doc, version, length, changed }: Listed): HTMLElement {
    const link = h('a', { href: `#doc=${encodeURIComponent(doc)}` }, doc);
    if (doc === this.#options.doc) link.setAttribute('aria-current', 'page');
    link.addEventListener('click', () => this.#dialog.close());
    const edits = version === 1 ? '1 edit' : `${count.format(version)} edits`;
    const facts = `${count.format(length)} characters, ${edits}`;
    return h(
      'li',
      {},
      link,
      h('span', { class: 'documents-facts' }, facts),
      h(
        'time',
        { datetime: new Date(changed / 1000).toISOString() },
        moment.format(changed / 1000),
      ),
    );
  }

  async #create(): Promise<void> {
    const doc = this.#options.asName(this.#name.value);
    if (!doc) {
      setText(this.#problem, 'A name needs letters, digits, dashes or underscores.');
      this.#name.focus();
      return;
    }
    try {
      await this.#options.client.invoke('create', { doc });
      this.#dialog.close();
      this.#options.open(doc);
    } catch (error) {
      setText(this.#problem, reason(error));
    }
  }
}
