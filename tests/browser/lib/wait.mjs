// Waiting for a condition, with a bound and a message that says what was there instead.

const INTERVAL_MS = 50;

/**
 * Calls `probe` until it gives something truthy, and gives that. After `limitMs` it fails with
 * `what` and the result of `otherwise`, which describes the state at that time.
 */
export async function until(what, probe, { limitMs = 20_000, otherwise = () => '' } = {}) {
  const deadline = performance.now() + limitMs;
  for (;;) {
    const result = await probe();
    if (result) return result;
    if (performance.now() > deadline) {
      const instead = await otherwise();
      throw new Error(`not within ${limitMs / 1000} s: ${what}${instead ? `\n${instead}` : ''}`);
    }
    await new Promise((resolve) => setTimeout(resolve, INTERVAL_MS));
  }
}
