/** One tab stop for a set of buttons: arrow keys, Home and End move within it. */

const MOVES = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

/** `onMove(item)` hears where the keys went; a radio group picks it, a strip only looks. */
export function rovingTabindex(container, selector, onMove = () => {}) {
  const items = () => [...container.querySelectorAll(selector)];
  const rest = (item) => {
    for (const other of items()) other.tabIndex = other === item ? 0 : -1;
  };
  const first = items()[0];
  if (first) rest(first);
  container.addEventListener("keydown", (event) => {
    const all = items();
    const here = all.indexOf(event.target.closest(selector));
    let next = null;
    if (event.key in MOVES) next = (here + MOVES[event.key] + all.length) % all.length;
    else if (event.key === "Home") next = 0;
    else if (event.key === "End") next = all.length - 1;
    if (here < 0 || next === null) return;
    event.preventDefault();
    rest(all[next]);
    all[next].focus();
    onMove(all[next]);
  });
  container.addEventListener("focusin", (event) => {
    const item = event.target.closest(selector);
    if (item) rest(item);
  });
  return rest;
}
