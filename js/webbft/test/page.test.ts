import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { WebBftClient } from '../src/client.js';
import type { Options } from '../src/types.js';
import { FakeSocket, fakeModule, view } from './fakes.js';

/** A page as far as it tells of its network and of its being looked at. */
const page = Object.assign(new EventTarget(), { visibilityState: 'visible' });
const scope = new EventTarget();

let fake: ReturnType<typeof fakeModule>;

beforeEach(() => {
  fake = fakeModule();
  vi.stubGlobal('document', page);
  vi.stubGlobal('addEventListener', scope.addEventListener.bind(scope));
  vi.stubGlobal('removeEventListener', scope.removeEventListener.bind(scope));
});

afterEach(() => {
  page.visibilityState = 'visible';
  vi.unstubAllGlobals();
});

/** A started client, and the causes of its dialling again. */
async function started(reconnect: Options['reconnect'] = {}) {
  const client = new WebBftClient({ view, WebSocket: FakeSocket, reconnect }, fake.load);
  client.connect().catch(() => {});
  await vi.waitFor(() => expect(fake.made.length).toBe(1));
  const { core } = fake;
  const networkChanged = core.networkChanged.bind(core);
  core.networkChanged = () => {
    networkChanged();
    core.effects.push({ type: 'open', replica: 0 });
  };
  const causes: string[] = [];
  client.on('reconnect', ({ cause }) => causes.push(cause));
  return { client, causes };
}

const happens = (target: EventTarget, type: string) => target.dispatchEvent(new Event(type));

it('dials at once when the page may have its network back', async () => {
  const { client, causes } = await started();
  happens(scope, 'online');
  happens(scope, 'pageshow');
  happens(page, 'visibilitychange');
  client.reconnectNow();
  expect(causes).toEqual(['online', 'visible', 'visible', 'manual']);
  // It is hidden, and not looked at.
  page.visibilityState = 'hidden';
  happens(page, 'visibilitychange');
  expect(causes.length).toBe(4);
  await client.close();
  for (const type of ['online', 'pageshow']) happens(scope, type);
  page.visibilityState = 'visible';
  happens(page, 'visibilitychange');
  expect(fake.core.told('networkChanged').length).toBe(4);
});

it('takes no notice of being looked at where it is told not to', async () => {
  const { client, causes } = await started({ onVisible: false });
  happens(scope, 'pageshow');
  happens(page, 'visibilitychange');
  happens(scope, 'online');
  expect(causes).toEqual(['online']);
  await client.close();
});
