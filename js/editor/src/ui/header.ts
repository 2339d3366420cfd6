/** The header's state, and the banner for what the user must know now. */

import type { Status } from 'webbft';
import { byId, setText } from './dom.ts';
import { ringSegments } from './ring.ts';
import type { Vote } from './words.ts';

/** What the header is told. */
export interface Condition {
  readonly status: Status | null;
  /** The text has been read. */
  readonly open: boolean;
  /** The page has been there for so long that it should have been. */
  readonly slow: boolean;
  /** Local changes have been unconfirmed for a noticeable time. */
  readonly waiting: boolean;
  /** And for so long that it takes an explanation. */
  readonly stuck: boolean;
  readonly failure: string | null;
  readonly notice: string | null;
}

type Tone = 'good' | 'wait' | 'bad';

function state({ status, open, waiting, stuck, failure }: Condition): [Tone, string] {
  if (failure) return ['bad', 'Stopped'];
  if (!status) return ['wait', 'Loading'];
  if (status.connected < status.needed) {
    const lost = open || status.phase === 'offline';
    return lost
      ? ['bad', waiting ? 'No quorum, changes wait' : 'No quorum']
      : ['wait', `Connecting, ${status.connected} of ${status.n}`];
  }
  if (!open) return ['wait', 'Reading the text'];
  if (stuck) return ['bad', 'Changes wait'];
  return waiting ? ['wait', 'Confirming'] : ['good', 'All changes confirmed'];
}

function banner({ status, open, slow, stuck, failure, notice }: Condition): [Tone, string] | null {
  if (failure) return ['bad', failure];
  if (status && status.connected < status.needed) {
    const answering = `only ${status.connected} of ${status.n} replicas answer`;
    if (open) return ['bad', `No quorum: ${answering}, writes wait. You can keep typing.`];
    if (slow || status.phase === 'offline') {
      return ['bad', `No quorum: ${answering}, and ${status.needed} are needed to read the text.`];
    }
  }
  if (status && stuck) {
    const agree = `fewer than ${status.needed} of ${status.n} replicas agree on your last change`;
    return ['bad', `No quorum: ${agree}, writes wait. You can keep typing.`];
  }
  return notice ? ['wait', notice] : null;
}

/** Draws the wordmark: three of four replicas agree. */
export function drawBrand(): void {
  const votes: Vote[] = ['matched', 'matched', 'matched', 'silent'];
  const mark = document.querySelector('.brand-mark');
  mark?.setAttribute('viewBox', '0 0 100 100');
  mark?.append(...ringSegments(votes));
}

export function drawHeader(condition: Condition): void {
  const [tone, text] = state(condition);
  byId('state').dataset.tone = tone;
  setText(byId('state-text'), text);
  const element = byId('banner');
  const shown = banner(condition);
  element.hidden = shown === null;
  element.dataset.tone = shown?.[0] ?? '';
  setText(element, shown?.[1] ?? '');
}
