import { describe, expect, it, vi } from 'vitest';
import { eventParser, type Fetch, httpTransport } from '../src/transport/http.js';
import type { LinkHandlers } from '../src/transport/transport.js';

const NAME = '0123456789abcdef'.repeat(2);
const utf8 = (text: string) => new TextEncoder().encode(text);

describe('events', () => {
  const parsed = (...chunks: Uint8Array[]) => {
    const events: string[][] = [];
    const parse = eventParser((kind, data) => events.push([kind, data]));
    for (const chunk of chunks) parse(chunk);
    return events;
  };

  const stream = (end: string) =>
    [
      '\ufeff: a comment',
      '',
      'event: link',
      `data: ${NAME}`,
      '',
      'data:AP8=',
      '',
      ':',
      'retry: 1',
      'id: 7',
      'event: ü€😀',
      'data: ä',
      'data:  two',
      'data',
      '',
      'event: without data',
      '',
      'data: AA==',
      '',
      'data: never ended',
    ].join(end);
  const expected = [
    ['link', NAME],
    ['', 'AP8='],
    ['ü€😀', 'ä\n two\n'],
    ['', 'AA=='],
  ];

  it.each([
    ['LF', '\n'],
    ['CRLF', '\r\n'],
    ['CR', '\r'],
  ])('are the same wherever the chunks end (%s)', (_, end) => {
    const bytes = utf8(stream(end));
    expect(parsed(bytes)).toEqual(expected);
    for (let first = 0; first <= bytes.length; first++) {
      const [before, after] = [bytes.subarray(0, first), bytes.subarray(first)];
      expect(parsed(before, after)).toEqual(expected);
      expect(parsed(before, new Uint8Array(), after)).toEqual(expected);
    }
    expect(parsed(...Array.from(bytes, (_, at) => bytes.subarray(at, at + 1)))).toEqual(expected);
  });

  it('cannot be without end', () => {
    const mebibyte = new Uint8Array(1 << 20).fill(65);
    const without = Array<Uint8Array>(7).fill(mebibyte);
    expect(() => parsed(utf8('data: '), ...without)).toThrow('an event is too long');
    const lines = without.flatMap((chunk) => [utf8('data: '), chunk, utf8('\n')]);
    expect(() => parsed(...lines)).toThrow('an event is too long');
  });
});

/** A server that the test plays. */
function serve() {
  const posts: { url: string; body: number[]; answer: (status: number) => void }[] = [];
  const opened: string[] = [];
  let signal: AbortSignal | undefined;
  let respond: (response: Response) => void = () => {};
  let fail: (reason: unknown) => void = () => {};
  let down: ReadableStreamDefaultController<Uint8Array> | undefined;
  const fetch: Fetch = (url, init) => {
    signal = init.signal ?? undefined;
    return new Promise((resolve, reject) => {
      signal?.addEventListener('abort', () => reject(signal?.reason));
      if (init.method === undefined) {
        opened.push(url);
        respond = resolve;
        fail = reject;
        return;
      }
      expect(init).toMatchObject({ method: 'POST' });
      expect(init.headers).toBeUndefined();
      const answer = (status: number) => resolve(new Response(null, { status }));
      posts.push({ url, body: [...(init.body as Uint8Array)], answer });
    });
  };
  const log: unknown[][] = [];
  const handlers: LinkHandlers = {
    opened: () => log.push(['opened']),
    message: (bytes) => log.push(['message', ...bytes]),
    closed: (reason) => log.push(['closed', ...(reason === undefined ? [] : [String(reason)])]),
  };
  const link = httpTransport(fetch).open('wss://r.test:7/a/ws', handlers);
  return {
    link,
    log,
    posts,
    opened,
    get signal() {
      return signal;
    },
    fail: (reason: unknown) => fail(reason),
    respond(status = 200) {
      const body = new ReadableStream<Uint8Array>({
        start(controller) {
          down = controller;
          signal?.addEventListener('abort', () => controller.error(signal?.reason));
        },
      });
      respond(new Response(body, { status, statusText: 'as played' }));
    },
    push: (text: string) => down?.enqueue(utf8(text)),
    end: () => down?.close(),
    /** Opens the link. */
    async begin() {
      this.respond();
      this.push(`event: link\ndata: ${NAME}\n\n`);
      await vi.waitFor(() => expect(log).toEqual([['opened']]));
      log.length = 0;
    },
  };
}

describe('a link', () => {
  it('is one response and POSTs, one at a time', async () => {
    const server = serve();
    expect(server.opened).toEqual([
      expect.stringMatching(/^https:\/\/r\.test:7\/a\/http\?0\.\d+$/),
    ]);
    // Some browsers send one GET of a URL at a time.
    expect(serve().opened).not.toEqual(server.opened);
    server.link.send(new Uint8Array([1]));
    await server.begin();
    await vi.waitFor(() => expect(server.posts.length).toBe(1));
    expect(server.posts[0]).toMatchObject({
      url: `https://r.test:7/a/http/${NAME}`,
      body: [0, 0, 0, 1, 1],
    });
    // What comes meanwhile goes together.
    server.link.send(new Uint8Array([2, 3]));
    server.link.send(new Uint8Array([4]));
    server.push(': keep-alive\n\ndata: /wA=\n\nevent: later\ndata: AA==\n\ndata: !\n\n');
    await vi.waitFor(() => expect(server.log).toEqual([['message', 255, 0], ['message']]));
    expect(server.posts.length).toBe(1);
    server.posts[0]?.answer(204);
    await vi.waitFor(() => expect(server.posts.length).toBe(2));
    expect(server.posts[1]?.body).toEqual([0, 0, 0, 2, 2, 3, 0, 0, 0, 1, 4]);
    server.posts[1]?.answer(204);

    server.end();
    await vi.waitFor(() => expect(server.log.at(-1)).toEqual(['closed']));
    server.link.send(new Uint8Array([5]));
    expect(server.log.length).toBe(3);
    expect(server.posts.length).toBe(2);
  });

  it('puts a bounded number of messages in one POST', async () => {
    const server = serve();
    await server.begin();
    const long = new Uint8Array((2 << 20) + 1);
    for (const message of [new Uint8Array(1 << 19), new Uint8Array(1 << 19), long]) {
      server.link.send(message);
    }
    for (const [index, size] of [1 << 19, 1 << 19, long.length].entries()) {
      await vi.waitFor(() => expect(server.posts.length).toBe(index + 1));
      expect(server.posts[index]?.body.length).toBe(4 + size);
      server.posts[index]?.answer(204);
    }
  });

  it.each([
    ['a POST that is refused', (server: ReturnType<typeof serve>) => server.posts[0]?.answer(404)],
    ['an answer without end', (server: ReturnType<typeof serve>) => server.posts[0]?.answer(200)],
  ])('ends with %s', async (_, happen) => {
    const server = serve();
    await server.begin();
    server.link.send(new Uint8Array([1]));
    server.link.send(new Uint8Array(1 << 20));
    await vi.waitFor(() => expect(server.posts.length).toBe(1));
    happen(server);
    await vi.waitFor(() => expect(server.log.length).toBe(1));
    expect(server.log[0]?.[1]).toMatch(/^Error: https:\/\/r.test:7\/a\/http answered (404|200)/);
    expect(server.signal?.aborted).toBe(true);
    expect(server.posts.length).toBe(1);
  });

  it.each([
    [
      'cannot be reached',
      (server: ReturnType<typeof serve>) => server.fail('no route'),
      'no route',
    ],
    [
      'is refused',
      (server: ReturnType<typeof serve>) => server.respond(503),
      'Error: https://r.test:7/a/http answered 503 as played',
    ],
    [
      'begins with something else',
      (server: ReturnType<typeof serve>) => {
        server.respond();
        server.push('data: AAAA\n\n');
      },
      'Error: https://r.test:7/a/http is no replica: it does not begin with a link',
    ],
    [
      'would have its POSTs go elsewhere',
      (server: ReturnType<typeof serve>) => {
        server.respond();
        server.push('event: link\ndata: ../admin\n\n');
      },
      'Error: https://r.test:7/a/http is no replica: it does not begin with a link',
    ],
  ])('ends where it %s', async (_, happen, reason) => {
    const server = serve();
    happen(server);
    await vi.waitFor(() => expect(server.log).toEqual([['closed', reason]]));
  });

  it('says nothing any more once it is closed', async () => {
    const early = serve();
    early.link.close();
    expect(early.signal?.aborted).toBe(true);

    const server = serve();
    await server.begin();
    server.link.send(new Uint8Array([1]));
    await vi.waitFor(() => expect(server.posts.length).toBe(1));
    server.link.close();
    server.link.close();
    server.link.send(new Uint8Array([2]));
    expect(server.signal?.aborted).toBe(true);
    await new Promise((resolve) => setTimeout(resolve));
    expect([early.log, server.log, server.posts.length]).toEqual([[], [], 1]);
  });

  it('is not heard of after it was closed from within a message', async () => {
    const heard: number[][] = [];
    const body = utf8(`event: link\ndata: ${NAME}\n\ndata: AQ==\n\ndata: Ag==\n\n`);
    const fetch: Fetch = async () => new Response(body);
    const link = httpTransport(fetch).open('ws://r.test/ws', {
      opened() {},
      message(bytes) {
        heard.push([...bytes]);
        link.close();
      },
      closed: () => heard.push([]),
    });
    await vi.waitFor(() => expect(heard.length).toBe(1));
    await new Promise((resolve) => setTimeout(resolve));
    expect(heard).toEqual([[1]]);
  });
});
