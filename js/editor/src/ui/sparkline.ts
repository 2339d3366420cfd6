/** The confirmation times of the last edits as a small line. */

import { s } from './dom.ts';

const WIDTH = 240;
const HEIGHT = 40;
const INSET = 4;

export class Sparkline {
  readonly #line = s('polyline', { class: 'spark-line' });
  readonly #area = s('polygon', { class: 'spark-area' });
  readonly #last = s('circle', { class: 'spark-last', r: '3', visibility: 'hidden' });
  readonly element = s(
    'svg',
    { class: 'spark', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, 'aria-hidden': 'true' },
    this.#area,
    this.#line,
    this.#last,
  );

  /** Draws `values` (milliseconds, oldest first) from zero to the largest; `slots` fit in all. */
  draw(values: readonly number[], slots: number): void {
    const top = Math.max(...values, 1);
    const step = (WIDTH - 2 * INSET) / (slots - 1);
    const first = WIDTH - INSET - (values.length - 1) * step;
    const points = values.map((value, index) => {
      const y = HEIGHT - INSET - (value / top) * (HEIGHT - 2 * INSET);
      return [(first + index * step).toFixed(1), y.toFixed(1)] as const;
    });
    const line = points.map((xy) => xy.join()).join(' ');
    const [left] = points[0] ?? [];
    const [x, y] = points.at(-1) ?? [];
    if (!left || !x || !y) return;
    this.#line.setAttribute('points', line);
    this.#area.setAttribute('points', `${left},${HEIGHT} ${line} ${x},${HEIGHT}`);
    this.#last.setAttribute('cx', x);
    this.#last.setAttribute('cy', y);
    this.#last.setAttribute('visibility', 'visible');
  }
}
