// What the interfaces must not allow. The type checker of the JavaScript tests fails where a line
// below an expected error has none.
import type { Counter } from './counter.ts';
import type { Editor } from './editor.ts';
import type { Kv } from './kv.ts';

type Request<S extends { ops: object }, K extends keyof S['ops']> = S['ops'][K] extends {
  req: infer R;
}
  ? R
  : never;

export const misuse = [
  // @ts-expect-error: a number, for that is what JSON has
  { by: 1n } satisfies Request<Counter, 'add'>,
  // @ts-expect-error: takes nothing
  { by: 1 } satisfies Request<Counter, 'get'>,
  // @ts-expect-error: the name is given apart
  { op: 'add', by: 1 } satisfies Request<Counter, 'add'>,
  // @ts-expect-error: a value is missing
  { key: 'a' } satisfies Request<Kv, 'put'>,
  // @ts-expect-error: `expect` may be null, but not left out
  { key: 'a', value: '1' } satisfies Request<Kv, 'cas'>,
  // @ts-expect-error: null is no limit
  { prefix: '', limit: null } satisfies Request<Kv, 'list'>,
  // @ts-expect-error: a field too many
  { doc: 'notes', version: 1 } satisfies Request<Editor, 'read'>,
];

// @ts-expect-error: no such operation
export type Sub = Counter['ops']['sub'];
// @ts-expect-error: documents have topics of their own
export type Everything = Editor['events']['doc'];

export function readOnly(result: Kv['ops']['list']['res']): void {
  // @ts-expect-error: what the replicas agreed on is not for changing
  result.entries.push({ key: 'a', value: null });
}
