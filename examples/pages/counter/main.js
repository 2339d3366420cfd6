// `npm install webbft` and a bundler make this 'webbft'.
import { createClient } from '../webbft/dist/index.js';

const value = document.querySelector('#value');
const said = document.querySelector('#said');
const buttons = document.querySelectorAll('button');

// Who gives the view is trusted: a page that is to trust no single replica is built with it.
const view = async () => (await fetch('/view.json')).json();
const client = createClient({ view });

let latest = -1n;
function show({ value: shown, evidence: { order, matching } }) {
  latest = order;
  value.textContent = shown.value;
  said.textContent = `Replicas ${matching.join(', ')} of ${client.status.n} say so`;
}

async function add(by) {
  try {
    // The event shows it, in this page as in all others.
    await client.invoke('add', { by });
  } catch (error) {
    // SERVICE is an answer of the replicas; others say that there is none, and why.
    said.textContent = error.detail?.message ?? error.message;
  }
}

client.on('status', ({ phase, connected, needed }) => {
  if (phase === 'offline') said.textContent = `${connected} of ${needed} replicas needed`;
});

// First the events, then the value: nothing in between is missed.
await client.invokeSubscribe('counter', show).ready;
const read = await client.invokeUnordered('get', {}).verified();
if (read.evidence.order === undefined || read.evidence.order >= latest) show(read);
for (const button of buttons) {
  button.disabled = false;
  button.onclick = () => add(Number(button.dataset.by));
}
