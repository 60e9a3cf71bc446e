/**
 * Picking an input capsule, with a pointer on the picture or with the keys. For a screen reader the
 * capsules are a grid of which one cell at a time is in the page: there may be thousands.
 */
import { element, say } from "../browser/dom.js";
import { agreementAt } from "../state/measures.js";
import { shownInput, shownMoment, shownOutput } from "../state/selection.js";
import { couplingAt, firstCoupling } from "../state/timeline.js";
import { nameOf, placeOf } from "./capsule_layout.js";
import { decimal, signed } from "./number_format.js";

const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** `tip` is `{ box, words }`; `showPatches(i, image)` draws into it what capsule i sees. */
export function createInputCapsulePicker(stage, grid, tip, store, view, config, showPatches) {
  const row = element("div", { role: "row" });
  grid.setAttribute("aria-rowcount", config.primary_types * config.primary_grid[0]);
  grid.setAttribute("aria-colcount", config.primary_grid[1]);
  grid.append(row);
  let cursor = null; // where the keys are
  let cell = null;

  /** A new element each time, so that a screen reader reads it out when it gets the focus. */
  function render(focus) {
    const i = cursor ?? shownInput(store.state);
    const { type, row: line, column } = placeOf(i, config.primary_grid);
    const next = element("div", {
      role: "gridcell",
      tabindex: "0",
      class: "cell-cursor",
      "aria-label": describe(store.state, config, i),
      "aria-rowindex": type * config.primary_grid[0] + line + 1,
      "aria-colindex": column + 1,
      "aria-selected": String(store.state.input === i),
    });
    place(next, i);
    row.replaceChildren(next);
    cell = next;
    if (focus) {
      next.focus({ preventScroll: true });
      showTip(i);
    }
  }

  function place(node, i) {
    if (view.layout === null) return;
    const { layout } = view;
    const { type, row: line, column } = placeOf(i, config.primary_grid);
    const tile = layout.tile(type);
    node.style.left = `${tile.x + column * layout.cell}px`;
    node.style.top = `${tile.y + line * layout.cell}px`;
    node.style.width = node.style.height = `${layout.cell}px`;
  }

  function showTip(i) {
    if (!store.state.result) return;
    say(tip.words, describe(store.state, config, i));
    showPatches(i, store.state.image);
    tip.box.hidden = false;
    store.set({ hovered: i });
    const tile = view.layout.tile(placeOf(i, config.primary_grid).type);
    const y = tile.y + (placeOf(i, config.primary_grid).row + 1) * view.layout.cell;
    const below = y + tip.box.offsetHeight + 8 < stage.clientHeight;
    const above = y - view.layout.cell - tip.box.offsetHeight - 8;
    tip.box.style.top = `${below ? y + 8 : Math.max(0, above)}px`;
    const x = tile.x + placeOf(i, config.primary_grid).column * view.layout.cell;
    tip.box.style.left = `${Math.max(0, Math.min(x, stage.clientWidth - tip.box.offsetWidth))}px`;
  }

  function hideTip() {
    tip.box.hidden = true;
    store.set({ hovered: null });
  }

  function toggle(i) {
    store.set({ input: store.state.input === i ? null : i });
  }

  grid.addEventListener("keydown", (event) => {
    const i = cursor ?? shownInput(store.state);
    if (event.key in MOVES) cursor = view.layout.beside(i, ...MOVES[event.key]);
    else if (event.key === "Home") cursor = 0;
    else if (event.key === "End")
      cursor = view.layout.types * view.layout.rows * view.layout.columns - 1;
    else if (event.key === "Enter" || event.key === " ") toggle(i);
    else if (event.key === "Escape") store.set({ input: null });
    else return;
    event.preventDefault();
    render(true);
  });
  grid.addEventListener("focusin", () => showTip(cursor ?? shownInput(store.state)));
  grid.addEventListener("focusout", hideTip);
  stage.addEventListener("pointermove", (event) => {
    const i = at(event);
    stage.classList.toggle("over-cell", i !== null);
    if (i === null) hideTip();
    else if (i !== store.state.hovered || tip.box.hidden) showTip(i);
  });
  stage.addEventListener("pointerleave", hideTip);
  stage.addEventListener("click", (event) => {
    const i = at(event);
    if (i === null || !store.state.result) return;
    cursor = i;
    toggle(i);
    showTip(i);
  });

  function at(event) {
    if (view.layout === null || event.target.closest("button")) return null;
    const frame = stage.getBoundingClientRect();
    const [x, y] = [event.clientX - frame.left, event.clientY - frame.top];
    return x > view.layout.width + 6 ? null : view.layout.at(x, y);
  }

  return {
    update(changed = new Set()) {
      const { hovered, image, result } = store.state;
      if (changed.has("excited") && hovered !== null && result) showPatches(hovered, image);
      if (cell !== null && cell === document.activeElement) {
        cell.setAttribute("aria-selected", String(store.state.input === cursor));
        place(cell, cursor ?? shownInput(store.state));
      } else {
        cursor = store.state.input;
        render(false);
      }
    },
  };
}

/** The true numbers of input capsule i at the moment shown. */
export function describe(state, config, i) {
  const name = nameOf(i, config.primary_grid);
  if (!state.result) return name;
  const moment = shownMoment(state);
  const j = shownOutput(state);
  const ij = i * state.measures.J + j;
  const coupling = couplingAt(state.result.trace, moment);
  const agreement = agreementAt(state.result, state.measures, moment);
  const parts = [
    `${name}: length ${decimal(state.measures.awake[i])}`,
    `c to ${config.class_names[j]} ${decimal(coupling ? coupling[ij] : firstCoupling(config))}`,
  ];
  if (agreement) parts.push(`agreement û·v ${signed(agreement(ij))}`);
  return parts.join(", ");
}
