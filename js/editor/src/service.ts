/**
 * The replicated editor service as seen from the page: its operations, queries and events as they
 * travel in JSON, written from the Rust types of `examples/src/editor`.
 */
import type { Editor } from '../../../examples/typescript/editor.ts';

export type {
  EditEvent,
  Editor as EditorService,
  EditorError,
  Span,
} from '../../../examples/typescript/editor.ts';

/** An edit of `doc`: spans ascending and disjoint, relative to the text at version `base`. */
export type EditRequest = Editor['ops']['edit']['req'];

/** What the page shows of an error: an `EditorError`, or another of the same shape. */
export interface ServiceError {
  readonly code: string;
  readonly message: string;
}
