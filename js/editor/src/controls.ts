/** The demo's processes as the page last saw them, and the buttons that are at work. */

import type { Action, Demo, Process } from './demo.ts';

const INTERVAL_MS = 1_000;

export interface ControlsListener {
  changed(): void;
  /** An action was done. */
  done(replica: number, action: Action): void;
  /** An action was not done, and why. */
  refused(reason: string): void;
}

export class Controls {
  readonly #demo: Demo;
  readonly #listener: ControlsListener;
  readonly #busy = new Set<number>();
  #processes: readonly Process[] = [];

  constructor(demo: Demo, listener: ControlsListener) {
    this.#demo = demo;
    this.#listener = listener;
  }

  /** The processes; empty until the demo has answered, and again when it has ended. */
  get processes(): readonly Process[] {
    return this.#processes;
  }

  busy(replica: number): boolean {
    return this.#busy.has(replica);
  }

  /** Follows the processes from now on: other pages have the same buttons. */
  start(): void {
    const round = async () => {
      try {
        this.#processes = await this.#demo.processes();
      } catch {
        this.#processes = [];
      }
      this.#listener.changed();
      setTimeout(round, INTERVAL_MS);
    };
    void round();
  }

  async act(replica: number, action: Action): Promise<void> {
    this.#busy.add(replica);
    this.#listener.changed();
    try {
      this.#processes = await this.#demo.act(replica, action);
      this.#listener.done(replica, action);
    } catch (error) {
      this.#listener.refused(error instanceof Error ? error.message : String(error));
    }
    this.#busy.delete(replica);
    this.#listener.changed();
  }
}
