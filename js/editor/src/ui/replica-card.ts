/** One replica in the panel: its link, what it says of itself, its vote, what it tried to show. */

import type { Replica } from 'webbft';
import type { Contrast } from '../contrast.ts';
import type { Action, Process } from '../demo.ts';
import type { Report } from '../reports.ts';
import { h, setText } from './dom.ts';
import {
  hostOf,
  milliseconds,
  reported,
  stateOf,
  suspicion,
  VOTE_HINTS,
  VOTE_WORDS,
  type Vote,
} from './words.ts';

/** What a replica that was caught in a lie said when it was asked alone. */
export type Claim =
  | { readonly kind: 'asking' }
  | { readonly kind: 'nothing' }
  | { readonly kind: 'same' }
  | { readonly kind: 'version'; readonly voted: number; readonly claimed: number }
  | ({ readonly kind: 'text' } & Contrast);

/** What a card shows. */
export interface CardContent {
  readonly replica: Replica;
  readonly vote: Vote;
  readonly report: Report | undefined;
  readonly leads: boolean;
  /** How many instances it lacks. */
  readonly behind: number;
  readonly claim: Claim | undefined;
  /** Of the demo's controls; undefined where there are none. */
  readonly process: Process | undefined;
  readonly busy: boolean;
}

/** A button that the demo has for each replica. */
class Control {
  readonly element = h('button', { type: 'button' });
  #action: Action | null = null;

  constructor(act: (action: Action) => void) {
    this.element.addEventListener('click', () => {
      if (this.#action && this.element.getAttribute('aria-disabled') !== 'true') act(this.#action);
    });
  }

  /** `pressed` is for a button that stands for a condition; `disabled` keeps the focus. */
  draw(
    label: string,
    action: Action,
    replica: number,
    { pressed = null as boolean | null, disabled = false } = {},
  ): void {
    this.#action = action;
    setText(this.element, label);
    this.element.setAttribute('aria-label', `${label} replica ${replica}`);
    this.element.setAttribute('aria-disabled', String(disabled));
    if (pressed !== null) this.element.setAttribute('aria-pressed', String(pressed));
  }
}

export class ReplicaCard {
  readonly #name = h('h3', { class: 'card-name' });
  readonly #leader = h('span', { class: 'card-leader' }, 'leader');
  readonly #vote = h('span', { class: 'vote' });
  readonly #host = h('span', { class: 'card-host' });
  readonly #state = h('span', { class: 'card-state' });
  readonly #rtt = h('span', {
    class: 'card-rtt',
    title: 'Round trip between this page and the replica',
  });
  readonly #report = h('p', { class: 'card-report', title: 'What the replica says of itself' });
  readonly #refused = h('p', { class: 'card-refused' });
  readonly #suspect = h('p', { class: 'card-suspect' });
  readonly #claim = h('div', { class: 'claim' });
  readonly #controls = h('div', { class: 'controls', role: 'group' });
  readonly #buttons: readonly Control[];
  #claimShown: Claim | undefined;
  readonly element = h(
    'li',
    { class: 'card' },
    h('div', { class: 'card-title' }, this.#name, this.#leader),
    this.#vote,
    h('p', { class: 'card-line' }, this.#host, this.#state, this.#rtt),
    this.#report,
    this.#refused,
    this.#suspect,
    this.#claim,
    this.#controls,
  );

  constructor(act: (action: Action) => void) {
    this.#buttons = Array.from({ length: 4 }, () => new Control(act));
    this.#controls.append(...this.#buttons.map(({ element }) => element));
  }

  draw(content: CardContent): void {
    const { replica, vote, report, leads, behind, claim, process, busy } = content;
    const { id, url, state, rttMs, suspect } = replica;
    setText(this.#name, `Replica ${id}`);
    this.#leader.hidden = !leads;
    setText(this.#host, hostOf(url));
    setText(this.#state, stateOf(replica, process));
    setText(this.#rtt, rttMs === undefined || state !== 'open' ? '' : milliseconds(rttMs));
    setText(this.#vote, VOTE_WORDS[vote]);
    this.#vote.dataset.vote = vote;
    this.#vote.title = VOTE_HINTS[vote];
    setText(this.#report, report ? reported(report, behind) : '');
    this.#report.hidden = report === undefined;
    const refused = state === 'open' ? undefined : replica.refused;
    this.#refused.hidden = refused === undefined;
    setText(this.#refused, refused ? `Refused: ${refused}` : '');
    this.element.dataset.state = state;
    this.element.dataset.suspect = String(suspect !== undefined);
    this.#suspect.hidden = suspect === undefined;
    setText(this.#suspect, suspect ? suspicion(suspect) : '');
    this.#drawClaim(id, suspect ? claim : undefined);
    this.#drawControls(id, process, busy);
  }

  #drawClaim(id: number, claim: Claim | undefined): void {
    if (claim === this.#claimShown) return;
    this.#claimShown = claim;
    this.#claim.hidden = claim === undefined;
    this.#claim.replaceChildren(...(claim ? claimed(id, claim) : []));
  }

  #drawControls(id: number, process: Process | undefined, busy: boolean): void {
    this.#controls.hidden = process === undefined;
    const [end, pause, slow, lie] = this.#buttons;
    if (!process || !end || !pause || !slow || !lie) return;
    this.#controls.setAttribute('aria-label', `Controls of replica ${id}`);
    const { state, behaviour } = process;
    const still = { disabled: busy || state !== 'running' };
    if (state === 'stopped') end.draw('Restart', 'restart', id, { disabled: busy });
    else end.draw('Kill', 'kill', id, { disabled: busy });
    if (state === 'paused') pause.draw('Resume', 'resume', id, { disabled: busy });
    else pause.draw('Pause', 'pause', id, still);
    for (const [button, label, kind] of [
      [slow, 'Slow', 'slow'],
      [lie, 'Lie', 'lie'],
    ] as const) {
      const pressed = behaviour === kind;
      button.draw(label, pressed ? 'restart' : kind, id, { pressed, ...still });
    }
  }
}

/** What a replica tried to show, beside what was voted. */
function claimed(id: number, claim: Claim): Node[] {
  switch (claim.kind) {
    case 'asking':
      return [h('p', {}, 'Asking it alone what it would show…')];
    case 'nothing':
      return [h('p', {}, 'Asked alone for the text, it does not answer.')];
    case 'same':
      return [h('p', {}, 'Asked alone for the text, it now gives the one that was voted.')];
    case 'version':
      return [
        h(
          'p',
          {},
          `Asked alone, it gives the right text as version ${claim.claimed} instead of ${claim.voted}.`,
        ),
      ];
    case 'text':
      return [
        h('p', {}, 'What it tried to show, asked alone:'),
        h(
          'dl',
          {},
          h('dt', {}, `Replica ${id}`),
          h(
            'dd',
            { class: 'claim-false' },
            claim.before,
            h('del', {}, claim.claimed || '(nothing more)'),
          ),
          h('dt', {}, 'Voted'),
          h('dd', {}, claim.before, h('ins', {}, claim.voted || '(nothing more)')),
        ),
      ];
  }
}
