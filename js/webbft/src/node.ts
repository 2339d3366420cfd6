/** Is this Node, or Deno or Bun, which have what Node has? */
export function inNode(): boolean {
  const scope = globalThis as { process?: { versions?: { node?: string } } };
  return scope.process?.versions?.node !== undefined;
}

/** Imports what is there in Node only; bundlers leave it alone. */
export function importInNode(name: string): Promise<unknown> {
  return import(/* @vite-ignore */ /* webpackIgnore: true */ /* turbopackIgnore: true */ name);
}
