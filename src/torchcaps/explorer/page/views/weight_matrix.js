/** The matrix W of the pair shown: u above it, the vote û = W u (+ bias) to its right. */
import { element, say } from "../browser/dom.js";
import { votesOf } from "../engine/network.js";
import { shownInput, shownOutput } from "../state/selection.js";
import { nameOf } from "./capsule_layout.js";
import { decimal, signed } from "./number_format.js";

const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

export function createWeightMatrix({ table, caption, words }, model, config) {
  const { D, P, J } = model;
  const above = Array.from({ length: P }, () => element("td", { class: "entry" }));
  const beside = Array.from({ length: D }, () => element("td", { class: "entry" }));
  const entries = Array.from({ length: D }, () =>
    Array.from({ length: P }, () => element("td", { class: "entry", tabindex: "-1" })),
  );
  const corner = (text) => element("th", { scope: "row" }, text);
  table.append(
    element("tr", {}, corner("u"), ...above, element("th", { scope: "col" }, "û")),
    ...entries.map((row, d) => element("tr", {}, corner(String(d + 1)), ...row, beside[d])),
  );
  let pair = null; // { i, j, u, vote } that the table shows
  let marked = [0, 0];
  entries[0][0].tabIndex = 0;

  const weight = (d, p) => model.weights("classes.weight")[((pair.i * J + pair.j) * D + d) * P + p];

  /** Tell one entry, and what it does. */
  function tell(d, p) {
    if (pair === null) return;
    const [w, u] = [weight(d, p), pair.u[p]];
    say(
      words,
      `W${sub(d + 1)},${sub(p + 1)} = ${signed(w)}: times u${sub(p + 1)} = ${signed(u)}, it adds ${signed(w * u)} to û${sub(d + 1)} = ${signed(pair.vote[d])}.`,
    );
  }
  const rest = () =>
    say(words, "û = W u: each row of W, times u, gives one number of the vote. Point at one.");

  function mark(d, p, focus) {
    entries[marked[0]][marked[1]].tabIndex = -1;
    marked = [d, p];
    entries[d][p].tabIndex = 0;
    if (focus) entries[d][p].focus();
  }
  const placeOf = (cell) => {
    const d = entries.findIndex((row) => row.includes(cell));
    return d < 0 ? null : [d, entries[d].indexOf(cell)];
  };
  for (const name of ["pointerover", "focusin", "click"]) {
    table.addEventListener(name, (event) => {
      const place = placeOf(event.target);
      if (place === null) return;
      if (name !== "pointerover") mark(...place, false);
      tell(...place);
    });
  }
  for (const name of ["pointerleave", "focusout"]) table.addEventListener(name, rest);
  table.addEventListener("keydown", (event) => {
    if (!(event.key in MOVES)) return;
    event.preventDefault();
    const [down, right] = MOVES[event.key];
    mark((marked[0] + down + D) % D, (marked[1] + right + P) % P, true);
  });

  return function update(state) {
    table.hidden = !state.result;
    if (!state.result) {
      pair = null;
      say(caption, "");
      say(words, "Draw, or choose an image, and its numbers appear here.");
      return;
    }
    const [i, j] = [shownInput(state), shownOutput(state)];
    const u = state.result.primary.subarray(i * P, (i + 1) * P);
    if (pair?.i === i && pair.j === j && pair.result === state.result) return;
    const vote = votesOf(model, state.result.primary, i).subarray(j * D, (j + 1) * D);
    pair = { i, j, u, vote, result: state.result };
    say(caption, `${nameOf(i, config.primary_grid)} to class ${config.class_names[j]}`);
    const all = entries.map((_, d) => above.map((_, p) => weight(d, p)));
    const most = Math.max(...all.flat().map(Math.abs), 1e-9);
    entries.forEach((row, d) => {
      row.forEach((cell, p) => {
        fill(cell, all[d][p], most, `W ${d + 1}, ${p + 1}: ${signed(all[d][p])}`);
      });
    });
    const [mostU, mostVote] = [u, vote].map((vector) => Math.max(...vector.map(Math.abs), 1e-9));
    above.forEach((cell, p) => {
      fill(cell, u[p], mostU, `u${p + 1}: ${signed(u[p])}`);
    });
    beside.forEach((cell, d) => {
      fill(cell, vote[d], mostVote, `û${d + 1}: ${signed(vote[d])}`);
    });
    table.setAttribute(
      "aria-label",
      `W, from −${decimal(most, 2)} (blue) to ${decimal(most, 2)} (orange)`,
    );
    rest();
  };
}

/** Blue below 0, orange above, as strong as its part of the largest. */
function fill(cell, value, most, label) {
  cell.style.setProperty("--up", `${(100 * Math.max(0, value / most)).toFixed(1)}%`);
  cell.style.setProperty("--down", `${(100 * Math.max(0, -value / most)).toFixed(1)}%`);
  cell.setAttribute("aria-label", label);
}

/** 12 → "₁₂". */
function sub(number) {
  return String(number).replace(/\d/g, (digit) => String.fromCharCode(0x2080 + Number(digit)));
}
