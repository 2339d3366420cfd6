// A worker of the edge: its engine compiles no Wasm at run time, so it gets the module beside it.
import { createClient } from 'webbft';
import wasm from 'webbft/wasm';
import { use } from '../use.js';

export default {
  async fetch(request) {
    const view = await (await fetch(new URL(request.url).searchParams.get('view'))).json();
    try {
      return Response.json(await use(createClient, view, { wasm }));
    } catch (error) {
      return new Response(`${error.stack ?? error}`, { status: 500 });
    }
  },
};
