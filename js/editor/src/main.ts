/** The page: loads the view from the replica that served it, and wires session, editor and panel. */

import './style/tokens.css';
import './style/layout.css';
import './style/editor.css';
import './style/panel.css';
import './style/past.css';
import './style/documents.css';
import './style/people.css';

import { type Client, createClient, type Status, type View } from 'webbft';
import { Claims } from './claims.ts';
import { Company } from './company.ts';
import { Controls } from './controls.ts';
import { type Action, Demo } from './demo.ts';
import { Past } from './past.ts';
import { Reports } from './reports.ts';
import type { EditorService } from './service.ts';
import { Session } from './session.ts';
import { Announcer } from './ui/announcer.ts';
import { Documents } from './ui/documents.ts';
import { byId, setText } from './ui/dom.ts';
import { Editor } from './ui/editor.ts';
import { drawBrand, drawHeader } from './ui/header.ts';
import { Panel } from './ui/panel.ts';
import { colourOf, nameOf } from './ui/people.ts';
import { failure, suspicion } from './ui/words.ts';
import { VoteBook } from './votes.ts';
import { askAlone } from './witness.ts';

/** Unconfirmed changes are worth a word when they have been so for this long. */
const NOTICEABLE_MS = 400;
/** And an explanation after this time, in which even a change of leader is over. */
const STUCK_MS = 4_000;
const NOTICE_MS = 8_000;
/** Not reaching a quorum is worth a banner when it takes this long. */
const SLOW_START_MS = 3_000;
const FRAME_MS = 16;
/** How long the button says that the link was copied. */
const COPIED_MS = 2_000;

/** The status before there is a client. */
const NOTHING: Status = {
  phase: 'idle',
  viewId: 0,
  n: 0,
  f: 0,
  connected: 0,
  needed: 0,
  pending: 0,
  replicas: [],
};

/** What the demo's buttons have done, for the live region. */
const DONE: Record<Action, string> = {
  kill: 'killed',
  pause: 'paused',
  resume: 'goes on',
  restart: 'started again',
  slow: 'started again, and answers late',
  lie: 'started again, and lies to every client',
};

/** A document's name of the characters that the service takes. */
function asDocumentName(text: string): string {
  return text
    .trim()
    .replace(/[^A-Za-z0-9_-]+/g, '-')
    .slice(0, 64);
}

/** The document's name: `#doc=notes`. */
function documentName(): string {
  const name = new URLSearchParams(location.hash.slice(1)).get('doc') ?? '';
  return asDocumentName(name) || 'welcome';
}

async function loadView(): Promise<View> {
  const response = await fetch('/view.json', { cache: 'no-cache' });
  if (!response.ok) {
    throw new Error(`the replica answers ${response.status} for /view.json`);
  }
  return (await response.json()) as View;
}

class Page {
  readonly #doc = documentName();
  readonly #announcer = new Announcer(byId('announcer'));
  readonly #votes = new VoteBook();
  readonly #reports = new Reports(
    () => this.#client?.status ?? NOTHING,
    () => this.#drawSoon(),
  );
  readonly #claims = new Claims(
    (replica) => this.#askAlone(replica),
    () => this.#agreed(),
    () => this.#drawSoon(),
  );
  readonly #controls = this.#findControls();
  readonly #panel = new Panel(byId('panel'), {
    votes: this.#votes,
    reports: this.#reports,
    claims: this.#claims.all,
    processes: () => this.#controls?.processes ?? [],
    busy: (replica) => this.#controls?.busy(replica) ?? false,
    act: (replica, action) => void this.#controls?.act(replica, action),
  });
  #view: View | null = null;
  #client: Client<EditorService> | null = null;
  #session: Session | null = null;
  #editor: Editor | null = null;
  #company: Company | null = null;
  #past: Past | null = null;
  #failure: string | null = null;
  #notice: string | null = null;
  #pendingSince: number | null = null;
  #frame: ReturnType<typeof setTimeout> | undefined;

  async run(): Promise<void> {
    drawBrand();
    this.#nameDocument();
    this.#draw();
    setTimeout(() => this.#drawSoon(), SLOW_START_MS);
    try {
      this.#open(await loadView());
    } catch (error) {
      this.#fail(error);
      return;
    }
    await this.#session?.start();
  }

  /** What tests look at; see README.md. */
  hook() {
    return {
      text: (): string => this.#editor?.text ?? '',
      version: (): number => this.#session?.sync?.version ?? 0,
      pending: (): boolean => !this.#session?.sync || this.#session.pending,
      status: (): Status | null => this.#client?.status ?? null,
      lastEvidence: () => this.#panel.evidence,
      replace: (from: number, to: number, insert: string): void =>
        this.#editor?.replace(from, to, insert),
      past: () => this.#past?.shown ?? null,
    };
  }

  #findControls(): Controls | null {
    const demo = Demo.fromAddress();
    if (!demo) return null;
    return new Controls(demo, {
      changed: () => this.#drawSoon(),
      done: (replica, action) => this.#announcer.say(`Replica ${replica}: ${DONE[action]}.`),
      refused: (reason) => this.#tell(`The demo could not do that: ${reason}.`),
    });
  }

  /** The agreed text; null before there is one. */
  #agreed() {
    const sync = this.#session?.sync;
    if (!sync) return null;
    return { version: sync.version, text: sync.confirmed.sliceString(0, undefined, '\n') };
  }

  #askAlone(replica: number) {
    if (!this.#view) throw new Error('there is no view yet');
    return askAlone(this.#view, replica, this.#doc);
  }

  #open(view: View): void {
    this.#view = view;
    const client = createClient<EditorService>({ view });
    this.#client = client;
    const company = new Company({
      client,
      doc: this.#doc,
      here: () => this.#here(),
      changed: () => this.#drawSoon(),
    });
    this.#company = company;
    this.#panel.meet(company);
    const session = new Session(client, this.#doc, {
      opened: (text) => {
        byId('loading').remove();
        this.#editor = new Editor({
          parent: byId('text'),
          text,
          label: `Shared text of document ${this.#doc}`,
          changed: (changes) => session.local(changes),
          moved: () => this.#company?.moved(),
        });
        this.#editor.focus();
        company.start();
        this.#openPast(client);
      },
      apply: (changes, remote) => this.#editor?.apply(changes, remote),
      accepted: (event, agreed) => {
        company.accepted(event.version, agreed);
        this.#past?.accepted(event);
      },
      confirmed: (confirmation) => {
        this.#panel.confirmed(confirmation);
        const { evidence, own, version } = confirmation;
        const votes = `${evidence.matching.length} of ${client.status.n} replicas`;
        this.#announcer.say(
          `${own ? 'Your edit' : 'An edit by someone else'}, version ${version}, confirmed by ${votes}.`,
        );
      },
      refused: (error) =>
        this.#tell(`The replicas refused your last change, it was taken back: ${error.message}.`),
      failed: (error) => this.#fail(error),
      changed: () => this.#drawSoon(),
    });
    this.#session = session;
    client.on('suspect', ({ replica }) => {
      const suspect = client.status.replicas.find(({ id }) => id === replica)?.suspect;
      if (suspect) this.#announcer.say(`Replica ${replica} is a suspect. ${suspicion(suspect)}.`);
      this.#drawSoon();
    });
    client.on('votes', (votes) => {
      this.#votes.record(votes);
      this.#drawSoon();
    });
    const documents = new Documents({
      client,
      doc: this.#doc,
      asName: asDocumentName,
      open: (doc) => {
        location.hash = `doc=${doc}`;
      },
    });
    byId('documents').addEventListener('click', () => documents.show());
    (byId('documents') as HTMLButtonElement).disabled = false;
    this.#reports.start();
    this.#controls?.start();
    addEventListener('beforeunload', (event) => {
      if (session.pending && !this.#failure) event.preventDefault();
    });
  }

  /** The user's selection, in the confirmed text. */
  #here() {
    const [sync, selection] = [this.#session?.sync, this.#editor?.selection];
    if (!sync || !selection) return null;
    const { version } = sync;
    const [anchor, head] = [sync.toConfirmed(selection.anchor), sync.toConfirmed(selection.head)];
    return { version, anchor, head };
  }

  /** Others who have the document open, and where they are in the visible text. */
  #drawPeople(): void {
    const sync = this.#session?.sync;
    if (!sync || !this.#company) return;
    const people = this.#company.people(sync.version, sync.confirmed.length);
    this.#panel.drawPeople(people);
    const cursors = people.flatMap(({ client, name, selection }) => {
      if (!selection) return [];
      const [anchor, head] = [sync.toVisible(selection.anchor), sync.toVisible(selection.head)];
      const colour = colourOf(client, undefined);
      return [{ name: name || nameOf(client, undefined), colour, anchor, head }];
    });
    this.#editor?.show(cursors);
  }

  #nameDocument(): void {
    setText(byId('title'), `Shared text: ${this.#doc}`);
    document.title = `${this.#doc} · WebBFT`;
    byId('share').addEventListener('click', () => void this.#copyLink());
    const name = byId('doc-name') as HTMLInputElement;
    name.value = this.#doc;
    byId('doc-form').addEventListener('submit', (event) => {
      event.preventDefault();
      const wanted = asDocumentName(name.value) || this.#doc;
      name.value = wanted;
      if (wanted !== this.#doc) location.hash = `doc=${wanted}`;
    });
    addEventListener('hashchange', () => {
      if (documentName() !== this.#doc) location.reload();
    });
  }

  #openPast(client: Client<EditorService>): void {
    const button = byId('history') as HTMLButtonElement;
    this.#past = new Past({
      client,
      doc: this.#doc,
      button,
      sheet: byId('text'),
      closed: () => this.#editor?.focus(),
      failed: (reason) => this.#tell(`The history cannot be had: ${reason}.`),
    });
    button.disabled = false;
  }

  /** The link to this document, without what only this window may know. */
  async #copyLink(): Promise<void> {
    const link = `${location.origin}${location.pathname}#doc=${this.#doc}`;
    try {
      await navigator.clipboard.writeText(link);
      setText(byId('share-text'), 'Link copied');
      this.#announcer.say('The link to this document is in the clipboard.');
      setTimeout(() => setText(byId('share-text'), 'Copy link'), COPIED_MS);
    } catch {
      this.#tell(`The browser does not let this page copy. The link is ${link}`);
    }
  }

  #fail(error: unknown): void {
    console.error(error);
    this.#failure = failure(error);
    this.#editor?.freeze();
    document.documentElement.dataset.failed = 'true';
    this.#drawSoon();
  }

  #tell(notice: string): void {
    this.#notice = notice;
    setTimeout(() => {
      if (this.#notice === notice) this.#notice = null;
      this.#drawSoon();
    }, NOTICE_MS);
    this.#drawSoon();
  }

  #drawSoon(): void {
    this.#frame ??= setTimeout(() => {
      this.#frame = undefined;
      this.#draw();
    }, FRAME_MS);
  }

  #draw(): void {
    const status = this.#client?.status ?? null;
    drawHeader({
      status,
      open: this.#editor !== null,
      slow: performance.now() > SLOW_START_MS,
      waiting: this.#waiting(NOTICEABLE_MS),
      stuck: this.#waiting(STUCK_MS),
      failure: this.#failure,
      notice: this.#notice,
    });
    if (status) {
      this.#claims.follow(status.replicas);
      this.#panel.draw(status);
    }
    this.#editor?.mark(this.#session?.sync?.unconfirmedRanges() ?? []);
    this.#drawPeople();
  }

  /** Whether changes have been unconfirmed for `ms`; draws again when that may become so. */
  #waiting(ms: number): boolean {
    if (!this.#session?.pending) {
      this.#pendingSince = null;
      return false;
    }
    const now = performance.now();
    this.#pendingSince ??= now;
    const waited = now - this.#pendingSince;
    if (waited >= ms) return true;
    setTimeout(() => this.#drawSoon(), ms - waited);
    return false;
  }
}

const page = new Page();

declare global {
  interface Window {
    /** For the tests: what the page shows and believes. */
    __webbftEditor: ReturnType<Page['hook']>;
  }
}
window.__webbftEditor = page.hook();
void page.run();
