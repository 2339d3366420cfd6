/** The trust panel: who agreed on the last edit, how fast, and how each replica does. */

import type { Evidence, Replica, Status } from 'webbft';
import type { Confirmation } from '../session.ts';
import { h, setText } from './dom.ts';
import { Ring } from './ring.ts';
import { Sparkline } from './sparkline.ts';
import {
  hostOf,
  milliseconds,
  replicaState,
  suspicion,
  VOTE_HINTS,
  VOTE_WORDS,
  type Vote,
  voteOf,
} from './words.ts';

/** How many confirmation times are kept. */
const LATENCIES = 24;
const NBSP = '\u00a0';

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

/** What the votes protect from, and what they cannot. */
function promise(n: number, f: number): string {
  const votes =
    f === 0
      ? 'Nothing protects the text if a replica lies, since none may fail here.'
      : `Protects the text while at most ${f} of ${n} replicas crash or lie.`;
  return `${votes} Does not protect you from a replica that serves you a false page.`;
}

class ReplicaCard {
  readonly #name = h('h3', { class: 'card-name' });
  readonly #host = h('span', { class: 'card-host' });
  readonly #state = h('span', { class: 'card-state' });
  readonly #rtt = h('span', { class: 'card-rtt' });
  readonly #vote = h('span', { class: 'vote' });
  readonly #refused = h('p', { class: 'card-refused' });
  readonly #suspect = h('p', { class: 'card-suspect' });
  readonly element = h(
    'li',
    { class: 'card' },
    this.#name,
    this.#vote,
    h('p', { class: 'card-line' }, this.#host, this.#state, this.#rtt),
    this.#refused,
    this.#suspect,
  );

  draw(replica: Replica, vote: Vote): void {
    setText(this.#name, `Replica ${replica.id}`);
    setText(this.#host, hostOf(replica.url));
    setText(this.#state, replicaState(replica));
    setText(this.#rtt, replica.rttMs === undefined ? '' : milliseconds(replica.rttMs));
    setText(this.#vote, VOTE_WORDS[vote]);
    this.#vote.dataset.vote = vote;
    this.#vote.title = VOTE_HINTS[vote];
    const refused = replica.state === 'open' ? undefined : replica.refused;
    this.#refused.hidden = refused === undefined;
    setText(this.#refused, refused ? `Refused: ${refused}` : '');
    this.element.dataset.state = replica.state;
    this.element.dataset.suspect = String(replica.suspect !== undefined);
    this.#suspect.hidden = replica.suspect === undefined;
    setText(this.#suspect, replica.suspect ? suspicion(replica.suspect) : '');
  }
}

export class Panel {
  readonly #root: HTMLElement;
  readonly #ring = new Ring();
  readonly #barRing = new Ring();
  readonly #spark = new Sparkline();
  readonly #cards = new Map<number, ReplicaCard>();
  readonly #barText = h('span', { class: 'bar-text' });
  readonly #barNote = h('span', { class: 'bar-note' });
  readonly #bar: HTMLButtonElement;
  readonly #count = h('p', { class: 'agreed' });
  readonly #agreed = h('p', { class: 'agreed-what' });
  readonly #edit = h('p', { class: 'agreed-edit' });
  readonly #latency = h('p', { class: 'figure' });
  readonly #latencyWhat = h('p', { class: 'aside' });
  readonly #list = h('ul', { class: 'cards', role: 'list' });
  readonly #facts = h('p', { class: 'aside' });
  readonly #promise = h('p');
  #last: Confirmation | null = null;
  #latencies: number[] = [];

  constructor(root: HTMLElement) {
    this.#root = root;
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
    const parts = h(
      'div',
      { class: 'parts' },
      h(
        'section',
        { class: 'part last', 'aria-labelledby': 'last-title' },
        h('h2', { id: 'last-title' }, 'Last edit'),
        h(
          'div',
          { class: 'last-row' },
          h('div', { class: 'dial' }, this.#ring.element, this.#count),
          h('div', { class: 'last-words' }, this.#agreed, this.#edit),
        ),
      ),
      h(
        'section',
        { class: 'part', 'aria-labelledby': 'time-title' },
        h(
          'div',
          { class: 'part-head' },
          h('h2', { id: 'time-title' }, 'Time to confirm'),
          this.#latencyWhat,
        ),
        h('div', { class: 'time-row' }, this.#latency, this.#spark.element),
      ),
      h(
        'section',
        { class: 'part', 'aria-labelledby': 'replicas-title' },
        h(
          'div',
          { class: 'part-head' },
          h('h2', { id: 'replicas-title' }, 'Replicas'),
          this.#facts,
        ),
        this.#list,
      ),
    );
    const trust = h(
      'section',
      { class: 'trust', 'aria-labelledby': 'trust-title' },
      h('h2', { id: 'trust-title' }, 'Loaded from one replica'),
      this.#promise,
    );
    root.append(this.#bar, h('div', { class: 'panel-body', id: 'panel-body' }, parts, trust));
  }

  /** Shows a confirmation, unless it is a stale one. */
  confirmed(confirmation: Confirmation): void {
    if (this.#last && confirmation.version < this.#last.version) return;
    this.#last = confirmation;
    if (confirmation.latencyMs !== undefined) {
      this.#latencies = [...this.#latencies, confirmation.latencyMs].slice(-LATENCIES);
      this.#spark.draw(this.#latencies, LATENCIES);
    }
  }

  /** Votes that came after the quorum was reached. */
  late(call: string, evidence: Evidence): void {
    if (this.#last?.call === call) this.#last = { ...this.#last, evidence };
  }

  /** The votes shown last. */
  get evidence(): Evidence | null {
    return this.#last?.evidence ?? null;
  }

  #vote(replica: number): Vote {
    return voteOf(replica, this.evidence, this.#last?.own ?? true);
  }

  draw(status: Status): void {
    const { replicas, n } = status;
    const votes = replicas.map(({ id }) => this.#vote(id));
    this.#ring.draw(votes);
    this.#barRing.draw(votes);
    this.#drawLast(n);
    this.#drawLatency();
    this.#drawCards(replicas);
    this.#drawFacts(status);
    const suspects = replicas.filter(({ suspect }) => suspect).length;
    this.#root.dataset.suspects = String(suspects);
    setText(
      this.#barNote,
      suspects > 0
        ? `${suspects} suspect${suspects === 1 ? '' : 's'}`
        : `${status.connected} connected`,
    );
  }

  #drawLast(n: number): void {
    const last = this.#last;
    if (!last) {
      setText(this.#count, `– / ${n || '–'}`);
      setText(this.#agreed, 'No edit yet');
      setText(this.#edit, 'Write something: each replica votes on it.');
      setText(this.#barText, 'No edit yet');
      return;
    }
    const { evidence, version, own } = last;
    const agreeing = evidence.matching.length;
    setText(this.#count, `${agreeing} / ${n}`);
    setText(this.#agreed, `Confirmed by ${agreeing}${NBSP}of${NBSP}${n}`);
    setText(
      this.#edit,
      `${own ? 'Your edit' : 'Someone else’s edit'}, version${NBSP}${version}. It took ${evidence.needed} equal votes.`,
    );
    setText(this.#barText, `Confirmed by ${agreeing}${NBSP}of${NBSP}${n}`);
  }

  #drawLatency(): void {
    const count = this.#latencies.length;
    if (count === 0) {
      setText(this.#latency, '–');
      setText(this.#latencyWhat, 'no edit of yours yet');
      return;
    }
    setText(this.#latency, milliseconds(median(this.#latencies)));
    setText(this.#latencyWhat, count === 1 ? 'your last edit' : `median of your last ${count}`);
  }

  #drawCards(replicas: readonly Replica[]): void {
    for (const [id, card] of this.#cards) {
      if (replicas.some((replica) => replica.id === id)) continue;
      card.element.remove();
      this.#cards.delete(id);
    }
    for (const replica of replicas) {
      let card = this.#cards.get(replica.id);
      if (!card) {
        card = new ReplicaCard();
        this.#cards.set(replica.id, card);
        this.#list.append(card.element);
      }
      card.draw(replica, this.#vote(replica.id));
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
