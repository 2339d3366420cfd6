// `npm install webbft` and a bundler make this 'webbft'.
import { createClient } from '../webbft/dist/index.js';

const form = document.querySelector('form');
const said = document.querySelector('#said');
const table = document.querySelector('tbody');

// Who gives the view is trusted: a page that is to trust no single replica is built with it.
const view = async () => (await fetch('/view.json')).json();
const client = createClient({ view });
const entries = new Map();

function draw() {
  const rows = [...entries]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => {
      const row = document.createElement('tr');
      const button = document.createElement('button');
      button.textContent = 'Delete';
      button.setAttribute('aria-label', `Delete ${key}`);
      button.onclick = () => attempt(() => client.invoke('delete', { key }));
      for (const content of [key, value, button]) row.insertCell().append(content);
      return row;
    });
  table.replaceChildren(...rows);
}

/** What the page shows of a change comes as its event; the reply tells who agreed. */
async function attempt(work) {
  try {
    const { evidence } = await work().verified();
    said.textContent = `Done, say replicas ${evidence.matching.join(', ')}`;
  } catch (error) {
    // SERVICE is an answer of the replicas; others say that there is none, and why.
    said.textContent = error.detail?.message ?? error.message;
  }
}

/** The whole store, page by page. */
async function read() {
  entries.clear();
  for (let after = null, more = true; more; ) {
    const page = await client.invokeUnordered('list', { prefix: '', after });
    for (const { key, value } of page.entries) entries.set(key, value);
    ({ more } = page);
    after = page.entries.at(-1)?.key ?? null;
  }
  draw();
}

client.on('status', ({ phase, connected, needed }) => {
  if (phase === 'offline') said.textContent = `${connected} of ${needed} replicas needed`;
});

// First the events, then the store: nothing in between is missed. What was read already comes as
// events once more, in order, so that the last of each key is right.
const events = client.invokeSubscribe('kv');
await events.ready;
await read();
form.querySelector('button').disabled = false;
said.textContent = 'Connected';
form.onsubmit = (event) => {
  event.preventDefault();
  attempt(() => client.invoke('put', Object.fromEntries(new FormData(form))));
};
for await (const {
  value: { key, value },
  gapBefore,
} of events) {
  if (gapBefore) await read();
  if (value === null) entries.delete(key);
  else entries.set(key, value);
  draw();
}
