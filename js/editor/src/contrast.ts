/** The first place where two texts differ, cut to what fits a line or two. */

/** Code units shown of each text, and how many of them are before the difference. */
const SHOWN = 72;
const BEFORE = 12;

/** The same place in both texts. */
export interface Contrast {
  /** What both have before the difference. */
  readonly before: string;
  /** What follows in the one and in the other text. */
  readonly voted: string;
  readonly claimed: string;
}

/** Moves `at` out of the middle of a surrogate pair. */
function whole(text: string, at: number): number {
  const unit = text.charCodeAt(at);
  return at > 0 && unit >= 0xdc00 && unit < 0xe000 ? at - 1 : at;
}

function cut(text: string, from: number, to: number): string {
  const start = whole(text, Math.max(0, from));
  const end = whole(text, Math.min(text.length, to));
  const part = text.slice(start, end).replace(/\s+/g, ' ');
  return end < text.length ? `${part}…` : part;
}

/** Where `claimed` begins to differ from `voted`; null where they are equal. */
export function contrast(voted: string, claimed: string): Contrast | null {
  if (voted === claimed) return null;
  const shorter = Math.min(voted.length, claimed.length);
  let at = 0;
  while (at < shorter && voted.charCodeAt(at) === claimed.charCodeAt(at)) at += 1;
  at = Math.min(whole(voted, at), whole(claimed, at));
  const from = whole(voted, Math.max(0, at - BEFORE));
  const before = `${from > 0 ? '…' : ''}${voted.slice(from, at).replace(/\s+/g, ' ')}`;
  const to = at + SHOWN - (at - from);
  return { before, voted: cut(voted, at, to), claimed: cut(claimed, at, to) };
}
