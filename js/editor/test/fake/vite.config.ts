/** Serves the page with the fake client, for looking at it: `npm --workspace editor run dev`. */

import { defineConfig } from 'vite';

export default defineConfig({
  root: new URL('../..', import.meta.url).pathname,
  resolve: { alias: { webbft: new URL('./webbft.ts', import.meta.url).pathname } },
  plugins: [
    {
      name: 'fake-view',
      configureServer(server) {
        server.middlewares.use('/view.json', (_request, response) => {
          response.setHeader('content-type', 'application/json');
          response.end(JSON.stringify({ members: [0, 1, 2, 3].map((id) => ({ id })) }));
        });
      },
    },
  ],
});
