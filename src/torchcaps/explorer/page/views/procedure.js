/** Procedure 1, or another routing, line by line, with the numbers of the picked capsule. */
import { element, say } from "../browser/dom.js";
import { votesOf } from "../engine/network.js";
import { agreementAt } from "../state/measures.js";
import { shownInput, shownMoment, shownOutput } from "../state/selection.js";
import { nameOf } from "./capsule_layout.js";
import { decimal } from "./number_format.js";
import { PROCEDURES } from "./procedures/table.js";

export function createProcedure(
  { lines, table, caption, sentence, vectors },
  model,
  store,
  config,
) {
  const { columns, lit, values, sentence: inWords, ...strip } = PROCEDURES[config.routing.name];
  const head = element("tr", {}, ...columns.map((name) => element("th", { scope: "col" }, name)));
  const body = config.class_names.map((name, j) => {
    const pick = element("button", { type: "button", class: "link" }, name);
    pick.addEventListener("click", () => store.set({ output: j }));
    const cells = columns.slice(1).map(() => element("td"));
    return { row: element("tr", {}, element("th", { scope: "row" }, pick), ...cells), cells };
  });
  table.append(element("thead", {}, head), element("tbody", {}, ...body.map(({ row }) => row)));
  const draw = createVectors(vectors, strip.vectors);

  return function update(state) {
    const moment = shownMoment(state);
    for (const item of lines.querySelectorAll("[data-line]")) {
      const current = Number(item.dataset.line) === moment.line;
      item.classList.toggle("lit", current);
      if (current) item.setAttribute("aria-current", "step");
      else item.removeAttribute("aria-current");
    }
    table.hidden = vectors.hidden = !state.result;
    if (!state.result) {
      say(sentence, "Draw, or choose an image, and the numbers appear here.");
      return;
    }
    const [i, j] = [shownInput(state), shownOutput(state)];
    const { result, measures } = state;
    const votes = votesOf(model, result.primary, i);
    const agreement = agreementAt(result, measures, moment);
    const shown = { trace: result.trace, moment, i, votes, agreement, config };
    const said = values(shown);
    say(caption, `Input capsule ${nameOf(i, config.primary_grid)}`);
    const now = lit[moment.line] ?? [];
    for (const [k, cell] of head.childNodes.entries()) {
      cell.classList.toggle("lit", now.includes(columns[k]));
    }
    body.forEach(({ row, cells }, k) => {
      row.classList.toggle("picked", k === j);
      columns.slice(1).forEach((name, n) => {
        say(cells[n], said[name](k));
        cells[n].classList.toggle("lit", now.includes(name));
      });
    });
    say(sentence, inWords(said, moment, config.class_names[j], j));
    draw(strip.strips(shown), measures.D, j);
  };
}

/** Vectors of the picked pair, number by number, as small bars up and down: [symbol, meaning]. */
function createVectors(box, vectors) {
  const rows = vectors.map(([symbol, meaning]) => {
    const strip = element("div", { class: "vector", role: "img" });
    const range = element("span", { class: "vector-range" });
    box.append(
      element(
        "div",
        { class: "vector-row" },
        element("span", { class: "vector-name", title: meaning }, symbol),
        strip,
        range,
      ),
    );
    return { strip, range, symbol, meaning };
  });

  return function update(tables, D, j) {
    rows.forEach(({ strip, range, symbol, meaning }, k) => {
      const vector = tables[k] ? tables[k].subarray(j * D, (j + 1) * D) : null;
      while (strip.childElementCount < D) strip.append(element("i"));
      const most = vector ? vector.reduce((peak, x) => Math.max(peak, Math.abs(x)), 1e-9) : 1;
      [...strip.children].forEach((bar, d) => {
        const part = vector ? vector[d] / most : 0;
        bar.style.setProperty("--up", Math.max(0, part).toFixed(3));
        bar.style.setProperty("--down", Math.max(0, -part).toFixed(3));
        bar.title = vector ? `${symbol}${d + 1} = ${decimal(vector[d])}` : "";
      });
      const numbers = vector
        ? Array.from(vector, (x) => decimal(x, 2)).join(", ")
        : "not computed yet";
      strip.setAttribute("aria-label", `${symbol}, ${meaning}: ${numbers}`);
      say(range, vector ? `±${decimal(most, 2)}` : "–");
    });
  };
}
