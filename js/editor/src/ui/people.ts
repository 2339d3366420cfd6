/** Names and colours of authors, of whom the replicas know nothing but the key they edit with. */

/** How many colours the style sheet has for authors. */
const COLOURS = 6;

/** The number of an author's colour; the page's own user always has the first. */
export function colourOf(author: string, me: string | undefined): number {
  if (author === me) return 0;
  let hash = 0;
  for (const letter of author) hash = (hash * 31 + (letter.codePointAt(0) ?? 0)) >>> 0;
  return 1 + (hash % (COLOURS - 1));
}

/** What the page calls an author. */
export function nameOf(author: string, me: string | undefined): string {
  return author === me ? 'you' : `writer ${author.slice(0, 4)}`;
}
