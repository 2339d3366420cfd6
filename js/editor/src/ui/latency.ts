/** The times to confirm of the last minutes, with the changes of leader between them. */

import { h, s, setText } from './dom.ts';
import { ago, milliseconds } from './words.ts';

/** How far back the plot goes at most, and how far at least. */
const LONGEST_MS = 120_000;
const SHORTEST_MS = 20_000;
const WIDTH = 300;
const HEIGHT = 64;
const TOP = 12;
const BOTTOM = 4;
/** Beyond this the scale is cut off at ten times the median, so that one outlier hides nothing. */
const OUTLIER = 10;

interface Confirmed {
  readonly at: number;
  readonly ms: number;
}

/** Times are those of `performance.now()`. */
interface Change {
  readonly at: number;
  readonly leader: number;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

export class LatencyPlot {
  readonly #figure = h('p', { class: 'figure' });
  readonly #what = h('p', { class: 'aside' });
  readonly #plot = s('svg', {
    class: 'plot',
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    preserveAspectRatio: 'none',
    role: 'img',
  });
  readonly #since = h('span');
  readonly #scale = h('span', { class: 'plot-scale', 'aria-hidden': 'true' });
  readonly #changesShown = h('div', { class: 'plot-changes', 'aria-hidden': 'true' });
  readonly element = h(
    'section',
    { class: 'part', 'aria-labelledby': 'time-title' },
    h('div', { class: 'part-head' }, h('h2', { id: 'time-title' }, 'Time to confirm'), this.#what),
    h(
      'div',
      { class: 'time-row' },
      this.#figure,
      h('div', { class: 'plot-box' }, this.#plot, this.#scale, this.#changesShown),
    ),
    h('p', { class: 'plot-axis', 'aria-hidden': 'true' }, this.#since, h('span', {}, 'now')),
  );
  #times: Confirmed[] = [];
  #changes: Change[] = [];
  #leader: { regency: number; replica: number } | null = null;

  /** An edit of this page took `ms` to be confirmed. */
  confirmed(ms: number): void {
    this.#times.push({ at: performance.now(), ms });
  }

  /** The leader that f + 1 replicas name; the first one is not a change. */
  leads(leader: { regency: number; replica: number } | null): void {
    if (!leader || leader.regency === this.#leader?.regency) return;
    if (this.#leader) this.#changes.push({ at: performance.now(), leader: leader.replica });
    this.#leader = leader;
  }

  draw(): void {
    const now = performance.now();
    const recent = ({ at }: { at: number }) => now - at < LONGEST_MS;
    this.#times = this.#times.filter(recent);
    this.#changes = this.#changes.filter(recent);
    const first = Math.min(this.#times[0]?.at ?? now, this.#changes[0]?.at ?? now);
    const span = Math.max(SHORTEST_MS, Math.ceil((now - first) / 10_000) * 10_000);
    setText(this.#since, ago(span));
    const times = this.#times.map(({ ms }) => ms);
    const middle = median(times);
    setText(this.#figure, times.length === 0 ? '–' : milliseconds(middle));
    setText(this.#what, this.#summary());
    const top = Math.max(1, Math.min(Math.max(...times, 0), middle * OUTLIER));
    setText(this.#scale, times.length === 0 ? '' : milliseconds(top));
    this.#plot.setAttribute('aria-label', this.#described(now, middle));
    this.#drawMarks(now, span, top);
  }

  #summary(): string {
    const count = this.#times.length;
    if (count === 0) return 'no edit of yours lately';
    return count === 1 ? 'your last edit' : `median of ${count} edits of yours`;
  }

  #described(now: number, middle: number): string {
    const edits = this.#times.length;
    const what =
      edits === 0
        ? 'No edit of yours in the last two minutes.'
        : `Edits of yours in the last two minutes: ${edits}; median ${milliseconds(middle)}.`;
    const changes = this.#changes.map(
      ({ at, leader }) => ` Replica ${leader} became leader ${ago(now - at)}.`,
    );
    return what + changes.join('');
  }

  #drawMarks(now: number, span: number, top: number): void {
    const x = (at: number) => WIDTH * (1 - (now - at) / span);
    const y = (ms: number) => HEIGHT - BOTTOM - (Math.min(ms, top) / top) * (HEIGHT - TOP - BOTTOM);
    const stems = this.#times.map(({ at, ms }) => {
      const place = x(at).toFixed(1);
      return s('path', {
        class: ms > top ? 'plot-time plot-beyond' : 'plot-time',
        d: `M${place} ${HEIGHT}V${y(ms).toFixed(1)}`,
      });
    });
    const changes = this.#changes.map(({ at }) =>
      s('path', { class: 'plot-change', d: `M${x(at).toFixed(1)} 0V${HEIGHT}` }),
    );
    this.#plot.replaceChildren(...stems, ...changes);
    this.#changesShown.replaceChildren(
      ...this.#changes.map(({ at, leader }) => {
        const label = h('span', {}, `leader ${leader}`);
        const share = x(at) / WIDTH;
        // On the side where there is room.
        label.style.cssText = share > 0.7 ? `right:${100 - share * 100}%` : `left:${share * 100}%`;
        label.dataset.side = share > 0.7 ? 'left' : 'right';
        return label;
      }),
    );
  }
}
