/** What excites an input capsule: the page's images for which it is longest. */
import { lengths } from "../engine/math.js";

/**
 * `most(i, count)` gives `[{ image, length }]`, the longest first, of all images asked about so far.
 * The engine is asked about them when this is first wanted, one after the other; `onMore()` is told
 * when all have been.
 */
export function createExcitation(engine, samples, P, onMore) {
  const known = []; // { image, awake: |u_i| of every input capsule }
  let asked = false;

  async function ask() {
    asked = true;
    for (const { image } of samples) {
      const primary = await engine.primary(image);
      known.push({ image, awake: lengths(primary, P) });
    }
    onMore();
  }

  return function most(i, count) {
    if (!asked) ask().catch(() => {}); // where the engine fails, the page says so already
    return known
      .map(({ image, awake }) => ({ image, length: awake[i] }))
      .sort((a, b) => b.length - a.length)
      .slice(0, count);
  };
}
