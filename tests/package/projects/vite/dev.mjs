// Serves the page as during development, until it is told to end; prints its address.
import { createServer } from 'vite';

const server = await createServer({
  root: import.meta.dirname,
  logLevel: 'warn',
  server: { host: '127.0.0.1', port: 0, hmr: false, fs: { allow: ['../..'] } },
});
await server.listen();
console.log(server.resolvedUrls.local[0]);
process.once('SIGTERM', () => server.close().then(() => process.exit(0)));
