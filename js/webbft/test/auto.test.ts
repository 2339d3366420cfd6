import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { autoTransport, type TransportKind } from '../src/transport/auto.js';
import type { LinkHandlers, Transport } from '../src/transport/transport.js';

const URL = 'ws://a.test/ws';

/** Links that the test opens and closes. */
class Played implements Transport {
  readonly opened: LinkHandlers[] = [];
  closed = 0;
  open(_: string, handlers: LinkHandlers) {
    this.opened.push(handlers);
    const close = () => {
      this.closed += 1;
    };
    return { send() {}, close };
  }
  get last(): LinkHandlers {
    const last = this.opened.at(-1);
    if (!last) throw new Error('no link was opened');
    return last;
  }
}

let webSocket: Played;
let http: Played;
let auto: ReturnType<typeof autoTransport>;
let told: string[];

beforeEach(() => {
  vi.useFakeTimers();
  [webSocket, http, told] = [new Played(), new Played(), []];
  auto = autoTransport(webSocket, http);
});

afterEach(() => {
  vi.useRealTimers();
});

function open(): TransportKind {
  const kind = auto.kind(URL);
  auto.open(URL, {
    opened: () => told.push('opened'),
    message: () => told.push('message'),
    closed: (reason) => told.push(`closed ${reason ?? ''}`.trim()),
  });
  return kind;
}

it('tries HTTP after two WebSockets that did not open, and stays with it once it works', () => {
  expect(open()).toBe('websocket');
  webSocket.last.closed();
  expect(open()).toBe('websocket');
  webSocket.last.closed();
  expect(open()).toBe('http');
  http.last.opened();
  http.last.message(new Uint8Array());
  http.last.closed('lost');
  expect(told).toEqual(['closed', 'closed', 'opened', 'message', 'closed lost']);
  for (let attempt = 0; attempt < 5; attempt++) {
    expect(open()).toBe('http');
    http.last.closed();
  }
});

it('tries HTTP when a WebSocket does not open in time', () => {
  open();
  vi.advanceTimersByTime(3_999);
  expect(told).toEqual([]);
  vi.advanceTimersByTime(1);
  expect(told).toEqual(['closed Error: no WebSocket opened within 4000 ms']);
  expect(webSocket.closed).toBe(1);
  expect(auto.kind(URL)).toBe('http');
});

it('stays with WebSockets once one has opened', () => {
  open();
  webSocket.last.opened();
  webSocket.last.closed();
  for (let attempt = 0; attempt < 5; attempt++) {
    expect(open()).toBe('websocket');
    webSocket.last.closed();
  }
  expect(vi.getTimerCount()).toBe(0);
});

it('goes to and fro while nothing works, and begins anew on another network', () => {
  const kinds = [];
  for (let attempt = 0; attempt < 6; attempt++) {
    const kind = open();
    kinds.push(kind);
    (kind === 'http' ? http : webSocket).last.closed();
  }
  expect(kinds).toEqual(['websocket', 'websocket', 'http', 'http', 'websocket', 'websocket']);
  expect(auto.kind(URL)).toBe('http');
  auto.networkChanged();
  expect(auto.kind(URL)).toBe('websocket');
});

it('lets go of a link without a word', () => {
  auto.open(URL, { opened() {}, message() {}, closed: () => told.push('closed') }).close();
  vi.advanceTimersByTime(10_000);
  expect([told, webSocket.closed]).toEqual([[], 1]);
});
