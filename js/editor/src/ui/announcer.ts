/** Tells users of screen readers what others see, without reading out every keystroke. */

import { setText } from './dom.ts';

const QUIET_MS = 1_500;

export class Announcer {
  readonly #region: HTMLElement;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `region` is the live region. */
  constructor(region: HTMLElement) {
    this.#region = region;
  }

  /** Says `text` once nothing newer has come for a moment. */
  say(text: string): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => setText(this.#region, text), QUIET_MS);
  }
}
