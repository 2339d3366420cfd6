// Node, Deno, Bun: use.mjs VIEW_ADDRESS ENTRY; prints what came of it.
import { use } from '../use.js';

const [address, entry] = process.argv.slice(2);
const { createClient } = await import(entry);
const view = await (await fetch(address)).json();
console.log(JSON.stringify(await use(createClient, view)));
