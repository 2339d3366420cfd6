/** A small model of the replicated editor service, the part that the replicas agree on. */

import { ChangeSet, Text } from '@codemirror/state';
import type { EditEvent } from '../src/service.ts';
import type { Batch } from '../src/sync.ts';

/** The rule of the service: the accepted edits since the base are mapped over, theirs first. */
export class ServerModel {
  version = 0;
  text: string;
  readonly log: EditEvent[] = [];

  constructor(text = '') {
    this.text = text;
  }

  edit(author: string, batch: Batch): EditEvent {
    if (batch.base > this.version) throw new Error('future');
    let length = this.text.length;
    for (const event of this.log.slice(batch.base).reverse()) {
      for (const { from, to, insert } of event.spans) length -= insert.length - (to - from);
    }
    let changes = ChangeSet.of([...batch.spans], length, '\n');
    for (const event of this.log.slice(batch.base)) {
      const accepted = ChangeSet.of([...event.spans], changes.length, '\n');
      changes = changes.map(accepted);
    }
    const spans: EditEvent['spans'][number][] = [];
    changes.iterChanges((from, to, _fromB, _toB, inserted) => {
      spans.push({ from, to, insert: inserted.toString() });
    });
    for (const { insert } of batch.spans) {
      if (!isWellFormed(insert)) throw new Error(`lone surrogate in ${JSON.stringify(insert)}`);
    }
    this.text = changes.apply(Text.of(this.text.split('\n'))).toString();
    if (!isWellFormed(this.text)) throw new Error('the edit splits a surrogate pair');
    this.version += 1;
    const event = { version: this.version, author, tag: batch.tag, time: 0, spans };
    this.log.push(event);
    return event;
  }
}

export function isWellFormed(text: string): boolean {
  return !/\p{Surrogate}/u.test(text);
}

/** A seeded generator (mulberry32): a failing schedule is named by its seed. */
export function generator(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let value = Math.imul(state ^ (state >>> 15), state | 1);
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61);
    return ((value ^ (value >>> 14)) >>> 0) % below;
  };
}
