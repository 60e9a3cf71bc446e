/** Views below the fold wait until things have come to rest: scrubbing stays light. */

const REST = 250; // milliseconds

/** `update`, at once while `section` can be seen, else when no more changes come. */
export function whenVisible(section, update) {
  let seen = true;
  let missed = null; // the state, and all keys that changed unseen
  let timer = 0;

  function catchUp() {
    if (missed === null) return;
    const { state, keys } = missed;
    missed = null;
    update(state, keys);
  }
  new IntersectionObserver((entries) => {
    seen = entries[entries.length - 1].isIntersecting;
    if (seen) catchUp();
  }).observe(section);

  return (state, keys) => {
    missed = { state, keys: new Set([...(missed?.keys ?? []), ...keys]) };
    clearTimeout(timer);
    if (seen) catchUp();
    else timer = setTimeout(catchUp, REST);
  };
}
