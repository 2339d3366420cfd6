// A running demo: its replicas, and its controls as a page uses them.

import { readFile } from 'node:fs/promises';

/** What the cluster.json that WEBBFT_DEMO names says. */
export async function runningDemo() {
  const description = process.env.WEBBFT_DEMO;
  if (!description)
    throw new Error('WEBBFT_DEMO must name a cluster.json; `cargo xtask test` sets it');
  const { replicas, controls } = JSON.parse(await readFile(description, 'utf8'));
  const [port, token] = controls.split('.');
  const base = `http://127.0.0.1:${port}`;

  async function ask(method, path) {
    const headers = { authorization: `Bearer ${token}` };
    const response = await fetch(`${base}${path}`, { method, headers });
    const answer = await response.json();
    if (!response.ok) throw new Error(`${method} ${path}: ${answer.message}`);
    return answer.replicas;
  }

  return {
    replicas,
    /** For the fragment of a page's address: `#demo=…`. */
    key: controls,
    base,
    token,
    processes: () => ask('GET', '/replicas'),
    act: (id, action) => ask('POST', `/replicas/${id}/${action}`),
    /** Lets every replica run and be honest. */
    async heal() {
      for (const { id, state, behaviour } of await ask('GET', '/replicas')) {
        if (state === 'paused') await ask('POST', `/replicas/${id}/resume`);
        if (state === 'stopped' || behaviour !== 'honest')
          await ask('POST', `/replicas/${id}/restart`);
      }
    },
  };
}
