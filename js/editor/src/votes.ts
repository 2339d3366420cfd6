/** The votes on calls and events, some of which come after a quorum of them was enough. */

import type { ClientEvent, Evidence } from 'webbft';

type Votes = Pick<
  Extract<ClientEvent, { type: 'votes' }>,
  'call' | 'event' | 'number' | 'evidence'
>;

/** What is voted on: `call` and the client's id of it, or a topic and the number of an event. */
export type Subject = string;

export const callSubject = (call: string): Subject => `call ${call}`;
export const eventSubject = (topic: string, number: bigint): Subject => `${topic} ${number}`;

/** How many are remembered; late votes come within seconds. */
const REMEMBERED = 64;

/** The latest votes on each of the last few subjects. */
export class VoteBook {
  readonly #votes = new Map<Subject, Evidence>();

  /** Takes what the client's `votes` event says; newer votes replace older ones. */
  record({ call, event, number, evidence }: Votes): void {
    const subject =
      event !== undefined && number !== undefined ? eventSubject(event, number) : callSubject(call);
    this.#votes.delete(subject);
    this.#votes.set(subject, evidence);
    const [oldest] = this.#votes.keys();
    if (this.#votes.size > REMEMBERED && oldest !== undefined) this.#votes.delete(oldest);
  }

  /** The latest votes on `subject`, if any are remembered. */
  on(subject: Subject): Evidence | undefined {
    return this.#votes.get(subject);
  }
}
