// What every project does with the package: connect to all replicas, subscribe, invoke, read, close.

export async function use(createClient, view, options = {}) {
  const key = `key-${Math.random()}`;
  const client = createClient({ view, ...options });
  const idle = client.status.phase;
  await client.connect({ wait: 'all' });
  const { connected } = client.status;
  const events = client.invokeSubscribe('kv');
  await events.ready;
  const put = await client.invoke('put', { key, value: 'agreed' }).verified();
  let event;
  for await (const { value, number } of events) {
    if (value.key !== key) continue;
    event = { value: value.value, numbered: number > 0n };
    break;
  }
  const read = await client.invokeUnordered('get', { key });
  const refused = await client.invoke('put', { key: 'k'.repeat(257), value: '' }).then(
    () => 'nothing',
    (error) => `${error.name} ${error.code} ${error.outcome}`,
  );
  const aborted = await client
    .invoke('put', { key, value: 'never' }, { signal: AbortSignal.abort('enough') })
    .then(
      () => 'nothing',
      (error) => `${error.code} ${error.outcome} ${error.cause}`,
    );
  await client.close();
  const late = await client.invoke('get', { key }).then(
    () => 'nothing',
    (error) => error.code,
  );
  const { needed, matching } = put.evidence;
  const votes = matching.length >= needed;
  return { idle, connected, put: put.value, votes, event, read, refused, aborted, late };
}
