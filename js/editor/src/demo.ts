/**
 * The controls of `cargo xtask demo`. Only a page that the demo gave port and token of them, in the
 * fragment of its address (`#demo=PORT.TOKEN`), has any.
 */

export type Behaviour = 'honest' | 'lie' | 'mute' | 'slow';

/** One of the demo's processes. */
export interface Process {
  readonly id: number;
  readonly state: 'running' | 'paused' | 'stopped';
  readonly behaviour: Behaviour;
}

export type Action = 'kill' | 'pause' | 'resume' | 'restart' | 'slow' | 'lie';

const STORED = 'webbft-demo';

/** Takes port and token out of the address, so that a link to this page does not carry them. */
function takeKey(): string | null {
  const parameters = new URLSearchParams(location.hash.slice(1));
  const given = parameters.get('demo');
  if (given !== null) {
    sessionStorage.setItem(STORED, given);
    parameters.delete('demo');
    const rest = parameters.toString();
    history.replaceState(history.state, '', `${location.pathname}${rest ? `#${rest}` : ''}`);
  }
  return sessionStorage.getItem(STORED);
}

/** The demo that serves this page, seen through its controls. */
export class Demo {
  readonly #origin: string;
  readonly #token: string;

  /** The demo whose page this is; null where it is none's. */
  static fromAddress(): Demo | null {
    const [, port, token] = takeKey()?.match(/^(\d{1,5})\.([0-9a-f]{32})$/) ?? [];
    const local = ['127.0.0.1', 'localhost'].includes(location.hostname);
    return local && port && token ? new Demo(port, token) : null;
  }

  private constructor(port: string, token: string) {
    this.#origin = `http://127.0.0.1:${port}`;
    this.#token = token;
  }

  /** The replicas' processes. Rejects where the demo has ended. */
  processes(): Promise<readonly Process[]> {
    return this.#ask('GET', '/replicas');
  }

  /** Does something to a replica; rejects with the reason where that cannot be done. */
  act(id: number, action: Action): Promise<readonly Process[]> {
    return this.#ask('POST', `/replicas/${id}/${action}`);
  }

  async #ask(method: string, path: string): Promise<readonly Process[]> {
    const response = await fetch(`${this.#origin}${path}`, {
      method,
      headers: { authorization: `Bearer ${this.#token}` },
    });
    const answer = (await response.json()) as { replicas?: Process[]; message?: string };
    if (!response.ok || !answer.replicas) throw new Error(answer.message ?? `${response.status}`);
    return answer.replicas;
  }
}
