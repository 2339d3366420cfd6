// What the compiler accepts and refuses; `npm run typecheck` is the test.
import { expectTypeOf, it } from 'vitest';
import {
  bytes,
  type Call,
  type Client,
  type ClientEvent,
  type Code,
  type Codec,
  createClient,
  json,
  type Message,
  type Outcome,
  preload,
  type Service,
  type Subscription,
  type View,
  WebBftError,
} from '../src/index.js';

interface Kv extends Service {
  ops: {
    get: { req: { key: string }; res: { value: string | null } };
    raw: { req: Uint8Array; res: Uint8Array };
  };
  events: { kv: { key: string }; blob: Uint8Array };
}

declare const view: View;
declare const client: Client<Kv>;

it('types calls and subscriptions by the service', () => {
  type Checked = () => void;
  const checked: Checked[] = [
    () => {
      expectTypeOf(client.invoke('get', { key: 'a' })).toEqualTypeOf<
        Call<{ value: string | null }>
      >();
      expectTypeOf(
        client.invokeUnordered('raw', new Uint8Array()),
      ).resolves.toEqualTypeOf<Uint8Array>();
      expectTypeOf(client.invokeSubscribe('kv')).toEqualTypeOf<Subscription<{ key: string }>>();
      client.invokeSubscribe('blob', (message) => {
        expectTypeOf(message).toEqualTypeOf<Message<Uint8Array>>();
      });
      // @ts-expect-error: no such operation
      client.invoke('put', { key: 'a' });
      // @ts-expect-error: a request of another shape
      client.invoke('get', { name: 'a' });
      // @ts-expect-error: a request is needed
      client.invoke('get');
      // @ts-expect-error: no such event
      client.invokeSubscribe('vk');
      // @ts-expect-error: the result has no such field
      client.invoke('get', { key: 'a' }).then(({ version }) => version);
    },
    () => {
      client.on('view', ({ from, to }) => expectTypeOf([from, to]).toEqualTypeOf<number[]>());
      client.on('gap', ({ missedFrom }) => expectTypeOf(missedFrom).toEqualTypeOf<bigint>());
      client.on('announcement', ({ value }) => expectTypeOf(value).toBeUnknown());
      client.announce('kv', { at: 1 });
      // @ts-expect-error: no such topic
      client.announce('other', 1);
      // @ts-expect-error: no such event of the client
      client.on('reconnected', () => {});
      // @ts-expect-error: it is immutable
      client.status.pending = 1;
      expectTypeOf<ClientEvent['type']>().toEqualTypeOf<
        'status' | 'view' | 'reconnect' | 'suspect' | 'gap' | 'announcement' | 'votes'
      >();
    },
    () => {
      createClient<Kv>({ view, codecs: { ops: { raw: { req: bytes, res: bytes } } } });
      createClient<Kv>({ view, codecs: { events: { kv: json(), blob: bytes } } });
      createClient({ view, identity: 'stored', transport: 'http' });
      createClient({ view: async () => view, identity: new Uint8Array(32) });
      // @ts-expect-error: a codec of another type
      createClient<Kv>({ view, codecs: { events: { kv: bytes } } });
      // @ts-expect-error: both directions are needed
      createClient<Kv>({ view, codecs: { ops: { raw: { req: bytes } } } });
      // @ts-expect-error: no such operation
      createClient<Kv>({ view, codecs: { ops: { row: { req: bytes, res: bytes } } } });
      // @ts-expect-error: no such transport
      createClient({ view, transport: 'webrtc' });
      // @ts-expect-error: no such identity
      createClient({ view, identity: 'saved' });
      // @ts-expect-error: a view is needed
      createClient({});
      expectTypeOf(json<number>()).toEqualTypeOf<Codec<number>>();
      expectTypeOf(preload()).resolves.toEqualTypeOf<WebAssembly.Module>();
    },
    () => {
      const error: unknown = undefined;
      if (WebBftError.is(error, 'TIMEOUT')) {
        expectTypeOf(error.outcome).toEqualTypeOf<Outcome>();
        expectTypeOf(error.code).toEqualTypeOf<Code>();
      }
      // @ts-expect-error: no such code
      WebBftError.is(error, 'TIMED_OUT');
    },
  ];
  expectTypeOf(checked).toEqualTypeOf<Checked[]>();
});
