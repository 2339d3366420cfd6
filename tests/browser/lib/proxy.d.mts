import type { View } from '../../../js/webbft/src/types.js';

/** The members of a view behind proxies. */
export interface Proxied {
  readonly view: View;
  /** How many upgrades each has refused. */
  refused(): number[];
  cut(): void;
  mend(): void;
  close(): Promise<unknown>;
}

export function proxied(view: View, options?: { webSockets?: boolean }): Promise<Proxied>;
