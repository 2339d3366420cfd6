import type { Cause } from './engine.js';

/** Calls `back` when the network or the page may be back; the returned function ends that. */
export function watchPage(back: (cause: Cause) => void, visibility: boolean): () => void {
  const cleanups: (() => void)[] = [];
  const listen = (target: EventTarget | undefined, type: string, handler: () => void) => {
    target?.addEventListener(type, handler);
    cleanups.push(() => target?.removeEventListener(type, handler));
  };
  const scope = 'addEventListener' in globalThis ? globalThis : undefined;
  listen(scope, 'online', () => back('online'));
  const page = globalThis.document;
  if (page && visibility) {
    listen(page, 'visibilitychange', () => {
      if (page.visibilityState === 'visible') back('visible');
    });
    // Out of the back-forward cache, which has closed every link.
    listen(scope, 'pageshow', () => back('visible'));
  }
  return () => {
    for (const cleanup of cleanups) cleanup();
  };
}
