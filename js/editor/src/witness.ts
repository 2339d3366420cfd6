/** What one replica shows to a page that asks it alone, instead of letting all of them vote. */

import { createClient, type View } from 'webbft';
import type { EditorService } from './service.ts';

const TIMEOUT_MS = 5_000;

/** A document as one replica has it, or says that it has it. */
export interface Testimony {
  readonly version: number;
  readonly text: string;
}

/**
 * Reads `doc` from replica `id` alone: to this client it is the whole service, so that its answer
 * needs no other's consent. Rejects as any call does, where it does not answer in time.
 */
export async function askAlone(view: View, id: number, doc: string): Promise<Testimony> {
  const members = view.members.filter((member) => member.id === id);
  const alone = createClient<EditorService>({
    view: { ...view, f: 0, members },
    identity: 'ephemeral',
    timeoutMs: TIMEOUT_MS,
  });
  try {
    const { version, text } = await alone.invokeUnordered('read', { doc });
    return { version: Number(version), text: String(text) };
  } finally {
    await alone.close();
  }
}
