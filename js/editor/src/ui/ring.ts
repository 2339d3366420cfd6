/** A ring of one segment per replica, coloured by how each voted. */

import { s } from './dom.ts';
import type { Vote } from './words.ts';

const CENTRE = 50;
const RADIUS = 40;
/** Angle between segments, in degrees. */
const GAP = 16;

function point(degrees: number): string {
  const radians = ((degrees - 90) * Math.PI) / 180;
  const x = CENTRE + RADIUS * Math.cos(radians);
  const y = CENTRE + RADIUS * Math.sin(radians);
  return `${x.toFixed(2)} ${y.toFixed(2)}`;
}

/** The segments for `votes`, the first one beginning at the top, clockwise. */
export function ringSegments(votes: readonly Vote[]): SVGElement[] {
  const step = 360 / Math.max(votes.length, 1);
  const gap = Math.min(GAP, step / 2);
  return votes.map((vote, index) => {
    const from = index * step + gap / 2;
    const to = (index + 1) * step - gap / 2;
    const large = to - from > 180 ? 1 : 0;
    return s('path', {
      class: 'ring-segment',
      'data-vote': vote,
      d: `M${point(from)}A${RADIUS} ${RADIUS} 0 ${large} 1 ${point(to)}`,
    });
  });
}

/** A ring that `draw` fills; decoration, what it shows is said in words beside it. */
export class Ring {
  readonly element = s('svg', { class: 'ring', viewBox: '0 0 100 100', 'aria-hidden': 'true' });
  #drawn = '';

  draw(votes: readonly Vote[]): void {
    const key = votes.join();
    if (key === this.#drawn) return;
    this.#drawn = key;
    this.element.replaceChildren(...ringSegments(votes));
  }
}
