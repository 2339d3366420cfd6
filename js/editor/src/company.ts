/** Keeps everybody who has the document open told of each other, over the client's announcements. */

import type { ChangeSet } from '@codemirror/state';
import type { Client } from 'webbft';
import { type Person, Presence, REPEAT_MS, type Selection, tidyName } from './presence.ts';
import type { EditorService } from './service.ts';

/** Where this page's user is is said at most this often; the replicas pass on fifty a second. */
const PAUSE_MS = 80;
/** Where the user's name is kept. */
const STORED_NAME = 'webbft-editor-name';

export interface CompanyOptions {
  readonly client: Pick<Client<EditorService>, 'announce' | 'on'>;
  readonly doc: string;
  /** The user's selection in the confirmed text, with its version; null before there is one. */
  here(): (Selection & { readonly version: number }) | null;
  /** Somebody came, went or moved. */
  changed(): void;
}

function storedName(): string {
  try {
    return tidyName(localStorage.getItem(STORED_NAME) ?? '');
  } catch {
    // The browser keeps nothing for this page.
    return '';
  }
}

/** See the module's description. */
export class Company {
  readonly #client: CompanyOptions['client'];
  readonly #topic: `doc/${string}`;
  readonly #options: CompanyOptions;
  readonly #presence = new Presence();
  readonly #page = crypto.getRandomValues(new Uint32Array(1)).toString();
  #name = storedName();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: CompanyOptions) {
    this.#options = options;
    this.#client = options.client;
    this.#topic = `doc/${options.doc}`;
  }

  /** Begins to tell and to listen. */
  start(): void {
    this.#client.on('announcement', ({ event, client, value }) => {
      if (event !== this.#topic) return;
      const what = this.#presence.hear(client, value, performance.now());
      // Who has just come should not have to wait until this page says something anyway.
      if (what === 'came') this.moved();
      this.#options.changed();
    });
    setInterval(() => {
      this.#say();
      if (this.#presence.forget(performance.now())) this.#options.changed();
    }, REPEAT_MS);
    addEventListener('pagehide', () => this.#say(true));
    this.#say();
  }

  /** What this page's user wants to be called; empty where they have not said. */
  get name(): string {
    return this.#name;
  }

  set name(name: string) {
    this.#name = tidyName(name);
    try {
      localStorage.setItem(STORED_NAME, this.#name);
    } catch {
      // It is theirs for as long as the page is open.
    }
    this.moved();
  }

  /** The user's selection has changed. */
  moved(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#say();
    }, PAUSE_MS);
  }

  /** An edit made `version` of the confirmed text before it. */
  accepted(version: number, changes: ChangeSet): void {
    this.#presence.accepted(version, changes);
  }

  /** Everybody else, with where they are in the confirmed text. */
  people(version: number, length: number): Person[] {
    return this.#presence.people(version, length);
  }

  #say(leaves = false): void {
    const here = this.#options.here();
    if (!here) return;
    const said = { page: this.#page, name: this.#name, ...here, ...(leaves && { leaves }) };
    try {
      this.#client.announce(this.#topic, said);
    } catch (error) {
      // The client is closed: there is nobody to tell.
      console.debug(error);
    }
  }
}
