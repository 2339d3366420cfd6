// What stands between a client and its replicas in many networks: a proxy that passes plain HTTP and
// refuses to upgrade to WebSockets, or a network that comes and goes.

import { createServer, request } from 'node:http';
import { connect } from 'node:net';

/**
 * One proxy for each member of a view, which it gives with their addresses instead.
 * `webSockets: false`: every upgrade is refused. `cut()` ends all links and refuses new ones until
 * `mend()`.
 */
export async function proxied(view, { webSockets = true } = {}) {
  const proxies = await Promise.all(view.members.map(({ url }) => proxy(new URL(url), webSockets)));
  const members = view.members.map((member, index) => ({ ...member, url: proxies[index].url }));
  return {
    view: { ...view, members },
    refused: () => proxies.map(({ refused }) => refused()),
    cut() {
      for (const { cut } of proxies) cut();
    },
    mend() {
      for (const { mend } of proxies) mend();
    },
    close: () => Promise.all(proxies.map(({ close }) => close())),
  };
}

async function proxy({ hostname, port, pathname }, webSockets) {
  let refused = 0;
  let isCut = false;
  const sockets = new Set();
  const server = createServer((incoming, outgoing) => {
    const { url: path, method, headers } = incoming;
    const onward = request({ hostname, port, path, method, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode, answer.headers);
      answer.pipe(outgoing);
      answer.once('error', () => outgoing.destroy());
    });
    onward.once('error', () => outgoing.destroy());
    outgoing.once('close', () => onward.destroy());
    incoming.pipe(onward);
  });
  server.on('connection', (socket) => {
    if (isCut) socket.destroy();
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    socket.on('error', () => {});
  });
  server.on('upgrade', ({ url, rawHeaders }, socket, head) => {
    if (!webSockets) {
      refused += 1;
      socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
      return;
    }
    const onward = connect({ host: hostname, port }, () => {
      const lines = rawHeaders.flatMap((text, at) =>
        at % 2 ? [] : [`${text}: ${rawHeaders[at + 1]}`],
      );
      onward.write(`GET ${url} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`);
      onward.write(head);
      socket.pipe(onward).pipe(socket);
    });
    onward.once('error', () => socket.destroy());
    socket.once('close', () => onward.destroy());
    onward.once('close', () => socket.destroy());
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const end = () => sockets.forEach((socket) => void socket.destroy());
  return {
    url: `ws://127.0.0.1:${server.address().port}${pathname}`,
    refused: () => refused,
    cut() {
      isCut = true;
      end();
    },
    mend() {
      isCut = false;
    },
    close() {
      end();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}
