import type { Link, LinkHandlers, Transport } from './transport.js';

/** What is needed of `fetch`; the global one has it. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** Messages are put together in one POST up to this many bytes; a longer one goes alone. */
const MAX_BODY = 1 << 20;
/** More than the longest message in base64: nobody is to fill the memory. */
const MAX_EVENT = 6 << 20;
/** Bytes of a message's length. */
const PREFIX = 4;

/**
 * Links over HTTP, for networks that block WebSockets: the replica's messages are the server-sent
 * events of one response, the client's go in POSTs, one at a time so that they stay in order.
 * docs/http-transport.md has the format.
 */
export function httpTransport(fetch: Fetch): Transport {
  return { open: (url, handlers) => open(fetch, url, handlers) };
}

function open(fetch: Fetch, member: string, handlers: LinkHandlers): Link {
  const url = member.replace(/^ws/, 'http').replace(/\/ws$/, '/http');
  const abort = new AbortController();
  const { signal } = abort;
  let queue: Uint8Array<ArrayBuffer>[] = [];
  let name: string | undefined;
  let posting = false;

  const close = () => {
    queue = [];
    abort.abort();
  };
  const end = (reason?: unknown) => {
    if (signal.aborted) return;
    close();
    handlers.closed(reason);
  };

  const request = async (path: string, status: number, init: RequestInit = {}) => {
    // No other options: some runtimes refuse those that they do not know.
    const response = await fetch(path, { ...init, signal });
    if (response.status === status) return response;
    throw new Error(`${url} answered ${response.status} ${response.statusText}`);
  };

  const post = async () => {
    if (posting || name === undefined) return;
    posting = true;
    while (queue.length > 0) {
      await request(`${url}/${name}`, 204, { method: 'POST', body: take(queue) });
    }
    posting = false;
  };

  const event = (kind: string, data: string) => {
    if (signal.aborted) return;
    if (name !== undefined) {
      // Kinds that are not known are passed over, as everywhere in server-sent events.
      if (kind === '') handlers.message(decode(data));
    } else if (kind === 'link' && /^[0-9a-f]{32}$/.test(data)) {
      name = data;
      handlers.opened();
      post().catch(end);
    } else {
      throw new Error(`${url} is no replica: it does not begin with a link`);
    }
  };

  const read = async () => {
    // Firefox would have a second GET of the same URL wait for the end of the first.
    const { body } = await request(`${url}?${Math.random()}`, 200);
    const reader = body?.getReader();
    const parse = eventParser(event);
    for (;;) {
      const chunk = await reader?.read();
      if (!chunk || chunk.done) return end();
      parse(chunk.value);
    }
  };

  read().catch(end);
  return {
    send(message) {
      if (signal.aborted) return;
      queue.push(message);
      // What is sent in the same turn goes in the same POST.
      queueMicrotask(() => post().catch(end));
    },
    close,
  };
}

/** Takes messages off the queue, as many as fit one body: each after its length. */
function take(queue: Uint8Array[]): Uint8Array<ArrayBuffer> {
  let count = 0;
  let size = 0;
  for (const { length } of queue) {
    if (count > 0 && size + PREFIX + length > MAX_BODY) break;
    size += PREFIX + length;
    count += 1;
  }
  const body = new Uint8Array(size);
  const view = new DataView(body.buffer);
  let at = 0;
  for (const message of queue.splice(0, count)) {
    view.setUint32(at, message.length);
    body.set(message, at + PREFIX);
    at += PREFIX + message.length;
  }
  return body;
}

/** The bytes of a message; none where it is not base64. */
function decode(base64: string): Uint8Array {
  try {
    const text = atob(base64);
    const bytes = new Uint8Array(text.length);
    for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
    return bytes;
  } catch {
    return new Uint8Array();
  }
}

/** Takes server-sent events in pieces as they come; it throws where one has no end. */
export function eventParser(
  event: (kind: string, data: string) => void,
): (chunk: Uint8Array) => void {
  const decoder = new TextDecoder();
  let afterReturn = false;
  let rest = '';
  let kind = '';
  let data: string | undefined;
  const line = (text: string) => {
    const colon = text.indexOf(':');
    const field = colon < 0 ? text : text.slice(0, colon);
    const value = colon < 0 ? '' : text.slice(colon + 1).replace(/^ /, '');
    if (text === '') {
      const [type, content] = [kind, data];
      kind = '';
      data = undefined;
      if (content !== undefined) event(type, content);
    } else if (field === 'event') kind = value;
    else if (field === 'data') data = data === undefined ? value : `${data}\n${value}`;
  };
  return (chunk) => {
    let text = decoder.decode(chunk, { stream: true });
    if (text === '') return;
    // A line's end may be cut in two.
    if (afterReturn && text.startsWith('\n')) text = text.slice(1);
    afterReturn = text.endsWith('\r');
    const lines = text.split(/\r\n|\n|\r/);
    lines[0] = rest + lines[0];
    rest = lines.pop() ?? '';
    lines.forEach(line);
    if (rest.length + (data?.length ?? 0) > MAX_EVENT) throw new Error('an event is too long');
  };
}
