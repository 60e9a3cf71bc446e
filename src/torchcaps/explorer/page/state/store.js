/** What the page knows. A change marks its keys; all views are drawn once, at the next frame. */

export function createStore(initial) {
  const state = { ...initial };
  const views = [];
  let changed = new Set();
  let frame = 0;

  function draw() {
    frame = 0;
    const keys = changed;
    changed = new Set();
    for (const view of views) view(state, keys);
  }

  function set(patch) {
    for (const [key, value] of Object.entries(patch)) {
      if (Object.is(state[key], value)) continue;
      state[key] = value;
      changed.add(key);
    }
    if (changed.size > 0 && frame === 0) frame = requestAnimationFrame(draw);
  }

  /** `view(state, changed)` is called in the frame after a change. */
  function onChange(view) {
    views.push(view);
  }

  return { state, set, onChange };
}
