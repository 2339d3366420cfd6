// node --expose-gc cycles.mjs VIEW_ADDRESS WARM CYCLES: connects and closes that often; prints what
// the process holds after the first WARM, when all code is compiled, and after all the others.
import { createClient } from 'webbft';

const [address, warm, cycles] = process.argv.slice(2);
const view = await (await fetch(address)).json();

async function cycle() {
  const client = createClient({ view });
  await client.connect();
  await client.close();
}

async function held() {
  // What was closed is gone a few turns of the event loop later.
  for (let turn = 0; turn < 10; turn++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    globalThis.gc();
  }
  const { heapUsed, external } = process.memoryUsage();
  return { heapUsed, external, resources: process.getActiveResourcesInfo().length };
}

for (let done = 0; done < warm; done++) await cycle();
const before = await held();
for (let done = 0; done < cycles; done++) await cycle();
console.log(JSON.stringify({ before, after: await held() }));
