import { ChangeSet } from '@codemirror/state';
import { describe, expect, test } from 'vitest';
import type { EditEvent } from '../src/service.ts';
import { Sync } from '../src/sync.ts';
import { generator, ServerModel } from './model.ts';

const insert = (sync: Sync, at: number, text: string) =>
  sync.local(ChangeSet.of({ from: at, insert: text }, sync.visible.length, '\n'));

const event = (version: number, tag: string, spans: EditEvent['spans']): EditEvent => ({
  version,
  author: 'a',
  tag,
  time: 0,
  spans,
});

const state = (sync: Sync) => ({
  version: sync.version,
  confirmed: sync.confirmed.toString(),
  visible: sync.visible.toString(),
  inFlight: sync.inFlight,
  unsent: sync.unsent,
});

describe('Sync', () => {
  test('has one batch in flight and composes the rest', () => {
    const sync = new Sync(3, 'ab');
    insert(sync, 1, 'x');
    const first = { base: 3, tag: 't1', spans: [{ from: 1, to: 1, insert: 'x' }] };
    expect(sync.take('t1')).toEqual(first);
    insert(sync, 2, 'y');
    insert(sync, 3, 'z');
    expect(sync.take('t2')).toBeNull();
    expect(sync.accepted(event(4, 't1', first.spans))).toEqual({
      kind: 'applied',
      changes: ChangeSet.empty(5),
      own: true,
    });
    expect(sync.take('t2')).toEqual({
      base: 4,
      tag: 't2',
      spans: [{ from: 2, to: 2, insert: 'yz' }],
    });
    expect(state(sync)).toEqual({
      version: 4,
      confirmed: 'axb',
      visible: 'axyzb',
      inFlight: { base: 4, tag: 't2', spans: [{ from: 2, to: 2, insert: 'yz' }] },
      unsent: false,
    });
    expect(sync.unconfirmedRanges()).toEqual([{ from: 2, to: 4 }]);
  });

  test('knows where a visible position is in the confirmed text, and the reverse', () => {
    const sync = new Sync(0, 'abcd');
    insert(sync, 1, 'xy');
    sync.take('t');
    insert(sync, 0, 'z');
    expect(sync.visible.toString()).toBe('zaxybcd');
    expect([0, 1, 2, 3, 4, 5, 7].map((at) => sync.toConfirmed(at))).toEqual([0, 0, 1, 1, 1, 2, 4]);
    expect([0, 1, 2, 4].map((at) => sync.toVisible(at))).toEqual([1, 4, 5, 7]);
  });

  test('puts an accepted insertion before its own at the same place', () => {
    const sync = new Sync(0, '');
    insert(sync, 0, 'mine');
    sync.take('t');
    insert(sync, 4, '!');
    const incoming = sync.accepted(event(1, 'theirs', [{ from: 0, to: 0, insert: 'theirs ' }]));
    expect(incoming).toMatchObject({ kind: 'applied', own: false });
    expect(sync.visible.toString()).toBe('theirs mine!');
    sync.accepted(event(2, 't', [{ from: 7, to: 7, insert: 'mine' }]));
    expect(sync.confirmed.toString()).toBe('theirs mine');
  });

  test('ignores what it knows and asks for what it misses', () => {
    const sync = new Sync(5, 'text');
    expect(sync.accepted(event(5, 'x', []))).toEqual({ kind: 'old' });
    expect(sync.accepted(event(7, 'x', []))).toEqual({ kind: 'gap' });
    expect(sync.version).toBe(5);
  });

  test('changes nothing when an edit does not fit', () => {
    const sync = new Sync(5, 'text');
    insert(sync, 0, 'a');
    const before = state(sync);
    const bad = event(6, 'x', [{ from: 3, to: 9, insert: '' }]);
    expect(() => sync.accepted(bad)).toThrow(RangeError);
    expect(state(sync)).toEqual(before);
  });

  test('puts a batch that was not sent back', () => {
    const sync = new Sync(0, 'ab');
    insert(sync, 1, 'x');
    sync.take('t1');
    insert(sync, 2, 'y');
    sync.accepted(event(1, 'r', [{ from: 0, to: 0, insert: '>' }]));
    sync.putBack();
    expect(sync.take('t2')).toEqual({
      base: 1,
      tag: 't2',
      spans: [{ from: 2, to: 2, insert: 'xy' }],
    });
  });

  test('takes a refused batch out and keeps what was typed after it', () => {
    const sync = new Sync(0, 'ab');
    insert(sync, 1, 'bad');
    sync.take('t1');
    insert(sync, 5, 'good');
    const visible = sync.visible;
    const shown = sync.revert().apply(visible);
    expect(shown.toString()).toBe('abgood');
    expect(shown.eq(sync.visible)).toBe(true);
  });

  test('believes the replicas, not its own forecast', () => {
    const sync = new Sync(0, 'ab');
    insert(sync, 1, 'x');
    sync.take('t1');
    insert(sync, 0, '>');
    const visible = sync.visible;
    const incoming = sync.accepted(event(1, 't1', [{ from: 1, to: 1, insert: 'X' }]));
    if (incoming.kind !== 'applied') throw new Error(incoming.kind);
    expect(incoming.changes.apply(visible).toString()).toBe('>aXb');
    expect(state(sync)).toMatchObject({ confirmed: 'aXb', visible: '>aXb', inFlight: null });
  });

  test('moves unsent text over to a text that was read anew', () => {
    const sync = new Sync(0, 'one two');
    insert(sync, 7, '!');
    sync.take('t1');
    insert(sync, 8, '?');
    const visible = sync.visible;
    const shown = sync.reset(9, 'one and two', false).apply(visible);
    expect(shown.toString()).toBe('one and two!?');
    expect(state(sync)).toEqual({
      version: 9,
      confirmed: 'one and two',
      visible: 'one and two!?',
      inFlight: null,
      unsent: true,
    });
  });

  test('does not repeat a batch that the text read anew contains', () => {
    const sync = new Sync(0, 'one');
    insert(sync, 3, '!');
    sync.take('t1');
    insert(sync, 4, '?');
    const visible = sync.visible;
    expect(sync.reset(9, 'zero one!', true).apply(visible).toString()).toBe('zero one!?');
    expect(sync.take('t2')?.spans).toEqual([{ from: 9, to: 9, insert: '?' }]);
  });

  test('repairs half a pair before it is sent', () => {
    const sync = new Sync(0, 'a😀');
    sync.local(ChangeSet.of({ from: 2, to: 3 }, 3));
    const repair = sync.repair();
    expect(repair?.apply(sync.visible).toString()).toBe('a\ufffd');
    expect(sync.take('t')?.spans).toEqual([{ from: 1, to: 3, insert: '\ufffd' }]);
  });
});

/** One page of a random schedule: what it shows is kept apart from what `Sync` believes. */
class Page {
  readonly sync: Sync;
  view;
  /** How much of the server's log this page has received. */
  received = 0;
  /** The batch in flight is on its way (true), or has reached the server (false). */
  onItsWay = false;
  readonly name: string;

  constructor(name: string, server: ServerModel) {
    this.name = name;
    this.sync = new Sync(server.version, server.text);
    this.view = this.sync.visible;
    this.received = server.version;
  }

  show(changes: ChangeSet | null): void {
    if (changes) this.view = changes.apply(this.view);
    expect(this.view.eq(this.sync.visible), 'the page shows what Sync believes').toBe(true);
  }
}

const PIECES = ['a', 'bc', '\n', '\r\n', '\r', '😀', '👩‍👩‍👧', 'é', '\ud83d', '\ude00', 'Zäh', ' '];

function randomChange(page: Page, random: (below: number) => number): ChangeSet {
  const { length } = page.view;
  const from = random(length + 1);
  const to = random(3) === 0 ? Math.min(length, from + random(4)) : from;
  const text = to > from && random(2) ? '' : (PIECES[random(PIECES.length)] ?? '');
  return ChangeSet.of({ from, to, insert: text }, length, '\n');
}

function runSchedule(seed: number): void {
  const random = generator(seed);
  const server = new ServerModel(random(2) ? 'start 😀\r\nend' : '');
  const pages = ['p0', 'p1', 'p2'].map((name) => new Page(name, server));
  let tags = 0;
  const receive = (page: Page) => {
    const next = server.log[page.received];
    if (!next) return;
    page.received += 1;
    const incoming = page.sync.accepted(next);
    if (incoming.kind !== 'applied') throw new Error(`seed ${seed}: ${incoming.kind}`);
    expect(incoming.own).toBe(next.author === page.name);
    page.show(incoming.changes);
  };
  const step = (page: Page, choice: number) => {
    const { inFlight } = page.sync;
    if (choice < 4) {
      const changes = randomChange(page, random);
      page.sync.local(changes);
      page.show(changes);
    } else if (choice < 6) {
      page.show(page.sync.repair());
      if (page.sync.take(`${page.name}/${tags++}`)) page.onItsWay = true;
    } else if (choice < 8 && inFlight && page.onItsWay) {
      page.onItsWay = false;
      server.edit(page.name, inFlight);
    } else if (choice === 8 && inFlight && page.onItsWay) {
      // Never reached a replica.
      page.onItsWay = false;
      page.sync.putBack();
      page.show(null);
    } else if (choice === 9 && random(4) === 0) {
      // The log is gone: the text is read anew. Whether it holds the batch is known here.
      const executed = inFlight !== null && server.log.some(({ tag }) => tag === inFlight.tag);
      page.show(page.sync.reset(server.version, server.text, executed));
      page.received = server.version;
      page.onItsWay = false;
    } else {
      receive(page);
    }
  };
  for (let round = 0; round < 120; round += 1) {
    const page = pages[random(pages.length)];
    if (page) step(page, random(14));
  }
  // Everything is delivered: all that was typed is sent, and all pages hear of it.
  for (let rest = 0; rest < 4; rest += 1) {
    for (const page of pages) {
      page.show(page.sync.repair());
      if (!page.sync.inFlight && page.sync.take(`${page.name}/${tags++}`)) page.onItsWay = true;
      if (page.sync.inFlight && page.onItsWay) step(page, 6);
      while (page.received < server.log.length) receive(page);
    }
  }
  for (const page of pages) {
    expect(page.sync.visible.toString(), `seed ${seed}, ${page.name}`).toBe(server.text);
    expect(page.sync.inFlight).toBeNull();
    expect(page.sync.unsent).toBe(false);
  }
}

test('pages converge under 1000 random schedules', () => {
  for (let seed = 0; seed < 1000; seed += 1) runSchedule(seed);
}, 60_000);
