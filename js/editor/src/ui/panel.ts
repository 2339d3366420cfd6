/** The trust panel: who agreed on the last edit, how fast, and how each replica does. */

import type { Evidence, Replica, Status } from 'webbft';
import type { Company } from '../company.ts';
import type { Action, Process } from '../demo.ts';
import type { Person } from '../presence.ts';
import type { Reports } from '../reports.ts';
import type { Confirmation } from '../session.ts';
import type { VoteBook } from '../votes.ts';
import { h, setText } from './dom.ts';
import { confirmedBy, LastEdit } from './last-edit.ts';
import { LatencyPlot } from './latency.ts';
import { PeopleList } from './people-list.ts';
import { type Claim, ReplicaCard } from './replica-card.ts';
import { Ring } from './ring.ts';
import { voteOf } from './words.ts';

const NBSP = '\u00a0';

/** What the votes protect from, and what they cannot. */
function promise(n: number, f: number): string {
  const votes =
    f === 0
      ? 'Nothing protects the text if a replica lies, since none may fail here.'
      : `Protects the text while at most ${f} of ${n} replicas crash or lie.`;
  return `${votes} Does not protect you from a replica that serves you a false page.`;
}

/** What the panel shows besides the client's status. */
export interface PanelSources {
  readonly votes: VoteBook;
  readonly reports: Reports;
  /** What suspects said when they were asked alone. */
  readonly claims: ReadonlyMap<number, Claim>;
  /** The demo's processes; empty where there is no demo. */
  processes(): readonly Process[];
  /** Whether a button of this replica is at work. */
  busy(replica: number): boolean;
  act(replica: number, action: Action): void;
}

export class Panel {
  readonly #root: HTMLElement;
  readonly #sources: PanelSources;
  readonly #barRing = new Ring();
  readonly #last = new LastEdit();
  readonly #latency = new LatencyPlot();
  readonly #cards = new Map<number, ReplicaCard>();
  readonly #barText = h('span', { class: 'bar-text' });
  readonly #barNote = h('span', { class: 'bar-note' });
  readonly #bar: HTMLButtonElement;
  readonly #list = h('ul', { class: 'cards', role: 'list' });
  readonly #facts = h('p', { class: 'aside' });
  readonly #promise = h('p', { class: 'aside' });
  readonly #parts: HTMLElement;
  #people: PeopleList | null = null;
  #confirmation: Confirmation | null = null;

  constructor(root: HTMLElement, sources: PanelSources) {
    this.#root = root;
    this.#sources = sources;
    this.#bar = h(
      'button',
      { class: 'bar', type: 'button', 'aria-expanded': 'false', 'aria-controls': 'panel-body' },
      this.#barRing.element,
      this.#barText,
      this.#barNote,
      h('span', { class: 'bar-arrow', 'aria-hidden': 'true' }),
    );
    this.#bar.addEventListener('click', () => this.#toggle());
    root.addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && root.dataset.open === 'true') {
        this.#toggle();
        this.#bar.focus();
      }
    });
    const replicas = h(
      'section',
      { class: 'part', 'aria-labelledby': 'replicas-title' },
      h('div', { class: 'part-head' }, h('h2', { id: 'replicas-title' }, 'Replicas'), this.#facts),
      this.#list,
    );
    // A region that scrolls has to be reachable by keyboard.
    this.#parts = h('div', {
      class: 'parts',
      tabindex: '0',
      role: 'group',
      'aria-label': 'Details',
    });
    const trust = h(
      'section',
      { class: 'part', 'aria-labelledby': 'trust-title' },
      h('h2', { id: 'trust-title' }, 'Loaded from one replica'),
      this.#promise,
    );
    this.#parts.append(this.#last.element, this.#latency.element, replicas, trust);
    root.append(this.#bar, h('div', { class: 'panel-body', id: 'panel-body' }, this.#parts));
  }

  /** Lists who is here, and lets the user say what they want to be called. */
  meet(company: Company): void {
    this.#people = new PeopleList(company.name, (name) => {
      company.name = name;
      return company.name;
    });
    this.#last.element.after(this.#people.element);
  }

  /** Shows who else is here. */
  drawPeople(people: readonly Person[]): void {
    this.#people?.draw(people);
  }

  /** Shows a confirmation, unless it is a stale one. */
  confirmed(confirmation: Confirmation): void {
    if (this.#confirmation && confirmation.version < this.#confirmation.version) return;
    this.#confirmation = confirmation;
    if (confirmation.latencyMs !== undefined) this.#latency.confirmed(confirmation.latencyMs);
  }

  /** The votes on the edit shown last, with those that came late. */
  get evidence(): Evidence | null {
    const last = this.#confirmation;
    return last ? (this.#sources.votes.on(last.subject) ?? last.evidence) : null;
  }

  draw(status: Status): void {
    const { replicas, connected } = status;
    const { evidence } = this;
    const ids = replicas.map(({ id }) => id);
    this.#last.draw(this.#confirmation, evidence, ids);
    this.#barRing.draw(ids.map((id) => voteOf(id, evidence)));
    setText(this.#barText, confirmedBy(evidence, replicas.length));
    this.#latency.leads(this.#sources.reports.leader);
    this.#latency.draw();
    this.#drawCards(replicas, evidence);
    this.#drawFacts(status);
    const suspects = replicas.filter(({ suspect }) => suspect).length;
    this.#root.dataset.suspects = String(suspects);
    const note =
      suspects > 0 ? `${suspects} suspect${suspects === 1 ? '' : 's'}` : `${connected} connected`;
    setText(this.#barNote, note);
  }

  #drawCards(replicas: readonly Replica[], evidence: Evidence | null): void {
    const { reports, claims } = this.#sources;
    for (const [id, card] of this.#cards) {
      if (replicas.some((replica) => replica.id === id)) continue;
      card.element.remove();
      this.#cards.delete(id);
    }
    const processes = this.#sources.processes();
    for (const replica of replicas) {
      const { id } = replica;
      let card = this.#cards.get(id);
      if (!card) {
        card = new ReplicaCard((action) => this.#sources.act(id, action));
        this.#cards.set(id, card);
        this.#list.append(card.element);
      }
      card.draw({
        replica,
        vote: voteOf(id, evidence),
        report: reports.of(id),
        leads: reports.leader?.replica === id,
        behind: reports.behind(id),
        claim: claims.get(id),
        process: processes.find((process) => process.id === id),
        busy: this.#sources.busy(id),
      });
    }
  }

  #drawFacts({ viewId, needed, n, f }: Status): void {
    const quorum = needed > 0 ? `, quorum ${needed}${NBSP}of${NBSP}${n}` : '';
    setText(this.#facts, `View${NBSP}${viewId}${quorum}`);
    setText(this.#promise, promise(n, f));
  }

  #toggle(): void {
    const open = this.#root.dataset.open !== 'true';
    this.#root.dataset.open = String(open);
    this.#bar.setAttribute('aria-expanded', String(open));
  }
}
