/** Procedure 1, line by line, with the numbers of the picked capsule. */
import { element, say } from "../browser/dom.js";
import { lengthOf } from "../engine/math.js";
import { votesOf } from "../engine/network.js";
import { agreementAt } from "../state/measures.js";
import { shownInput, shownMoment, shownOutput } from "../state/selection.js";
import {
  couplingUpdatedAt,
  couplingUsedAt,
  equalShare,
  logitsAt,
  posesAt,
  RETURN,
  sumsAt,
} from "../state/timeline.js";
import { nameOf } from "./capsule_layout.js";
import { decimal, signed } from "./number_format.js";

const COLUMNS = ["class", "b", "c used", "|û|", "|s|", "|v|", "û·v", "c updated"];
// Which columns a line has just computed.
const LIT = {
  2: ["b"],
  4: ["c used"],
  5: ["|s|"],
  6: ["|v|"],
  7: ["û·v", "b", "c updated"],
  [RETURN]: ["|v|"],
};

export function createProcedure(
  { lines, table, caption, sentence, vectors },
  model,
  store,
  config,
) {
  const head = element("tr", {}, ...COLUMNS.map((name) => element("th", { scope: "col" }, name)));
  const body = config.class_names.map((name, j) => {
    const pick = element("button", { type: "button", class: "link" }, name);
    pick.addEventListener("click", () => store.set({ output: j }));
    const cells = COLUMNS.slice(1).map(() => element("td"));
    return { row: element("tr", {}, element("th", { scope: "row" }, pick), ...cells), cells };
  });
  table.append(element("thead", {}, head), element("tbody", {}, ...body.map(({ row }) => row)));
  const strips = createVectors(vectors);

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
    const votes = votesOf(model, state.result.primary, i);
    const values = valuesAt(state, config, moment, i, votes);
    say(caption, `Input capsule ${nameOf(i, config.primary_grid)}`);
    const lit = LIT[moment.line] ?? [];
    for (const [k, cell] of head.childNodes.entries()) {
      cell.classList.toggle("lit", lit.includes(COLUMNS[k]));
    }
    body.forEach(({ row, cells }, k) => {
      row.classList.toggle("picked", k === j);
      COLUMNS.slice(1).forEach((name, n) => {
        say(cells[n], values[name](k));
        cells[n].classList.toggle("lit", lit.includes(name));
      });
    });
    say(sentence, inWords(values, moment, config.class_names[j], j));
    strips(state, moment, votes, j);
  };
}

/** Each column as a function of the class. */
function valuesAt(state, config, moment, i, votes) {
  const { trace } = state.result;
  const { J, D } = state.measures;
  const b = logitsAt(trace, moment);
  const [c, updated] = [couplingUsedAt(trace, moment), couplingUpdatedAt(trace, moment)];
  const [s, v] = [sumsAt(trace, moment), posesAt(trace, moment)];
  const agreement = agreementAt(state.result, state.measures, moment);
  const size = (rows) => (j) => (rows ? decimal(lengthOf(rows, j * D, D)) : "–");
  return {
    b: (j) => decimal(b ? b[i * J + j] : 0),
    "c used": (j) => decimal(c ? c[i * J + j] : equalShare(config)),
    "c updated": (j) => (updated ? decimal(updated[i * J + j]) : "–"),
    "|û|": size(votes),
    "û·v": (j) => (agreement ? signed(agreement(i * J + j)) : "–"),
    "|s|": size(s),
    "|v|": size(v),
    before: (j) => decimal(moment.iteration ? trace.logits[moment.iteration - 1][i * J + j] : 0),
  };
}

function inWords(values, { iteration, line }, name, j) {
  if (line === 2) {
    return `Nothing is known: every b is 0, so class ${name} gets the same share as all, ${values["c used"](j)}.`;
  }
  if (line === 4)
    return `For class ${name}: b = ${values.b(j)}, and the softmax makes it c = ${values["c used"](j)}.`;
  if (line === 5) {
    return `All votes for ${name}, each times its c, add up to a vector of length |s| = ${values["|s|"](j)}.`;
  }
  if (line === 6)
    return `Squash turns |s| = ${values["|s|"](j)} into |v| = ${values["|v|"](j)}, below 1.`;
  if (line === 7) {
    return `This vote’s agreement with ${name} is ${values["û·v"](j)}: b goes from ${values.before(j)} to ${values.b(j)}, so that c will be ${values["c updated"](j)} where it was ${values["c used"](j)}.`;
  }
  return `After iteration ${iteration}, class ${name} has length ${values["|v|"](j)}.`;
}

/** û, s and v of the picked pair, number by number, as small bars up and down. */
function createVectors(box) {
  const rows = [
    ["û", "vote of the input capsule", 1],
    ["s", "sum of all votes", 1],
    ["v", "pose of the output capsule", 1],
  ].map(([symbol, meaning]) => {
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

  return function update(state, moment, votes, j) {
    const { D } = state.measures;
    const { trace } = state.result;
    const vectors = [votes, sumsAt(trace, moment), posesAt(trace, moment)];
    rows.forEach(({ strip, range, symbol, meaning }, k) => {
      const vector = vectors[k] ? vectors[k].subarray(j * D, (j + 1) * D) : null;
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
