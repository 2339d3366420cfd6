/** The Wasm, deflated, in base64. `scripts/build.mjs` writes the module into dist. */
declare const compressed: string;
export default compressed;
