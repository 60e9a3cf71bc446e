/** Beside the picture, in words and buttons: who votes for the output, where the input sends. */
import { element, say } from "../browser/dom.js";
import { strongest } from "../state/measures.js";
import { shownMoment, shownOutput } from "../state/selection.js";
import { couplingAt, firstCoupling } from "../state/timeline.js";
import { nameOf } from "./capsule_layout.js";
import { decimal } from "./number_format.js";

const VOTERS = 4;

export function createStrongestCouplings({ heading, list }, store, config) {
  const buttons = Array.from({ length: VOTERS }, () => {
    const button = element("button", { type: "button", class: "voter" });
    button.addEventListener("click", () => {
      const { kind, index } = button.dataset;
      store.set(kind === "input" ? { input: Number(index) } : { output: Number(index) });
    });
    const item = element("li", {}, button);
    list.append(item);
    return { button, item };
  });
  const fill = (k, kind, index, text) => {
    buttons[k].item.hidden = text === "";
    buttons[k].button.dataset.kind = kind;
    buttons[k].button.dataset.index = index;
    say(buttons[k].button, text);
  };

  return function update(state) {
    if (!state.result) {
      say(heading, "Draw, or choose an image, and its capsules appear here.");
      for (let k = 0; k < VOTERS; k++) fill(k, "", "", "");
      return;
    }
    const moment = shownMoment(state);
    const coupling = couplingAt(state.result.trace, moment);
    const { J } = state.measures;
    const share = (i, j) => (coupling ? coupling[i * J + j] : firstCoupling(config));
    if (state.input === null) {
      const j = shownOutput(state);
      say(heading, `Most of ${config.class_names[j]} comes from (pick one to see where it sends):`);
      const order = strongest(state.result, state.measures, j, moment, VOTERS);
      for (let k = 0; k < VOTERS; k++) {
        const i = order[k];
        const text =
          i === undefined ? "" : `${nameOf(i, config.primary_grid)} · c ${decimal(share(i, j))}`;
        fill(k, "input", i, text);
      }
      return;
    }
    const i = state.input;
    say(heading, `${nameOf(i, config.primary_grid)} sends most to (Escape lets it go):`);
    const order = Array.from({ length: J }, (_, j) => j).sort((a, b) => share(i, b) - share(i, a));
    for (let k = 0; k < VOTERS; k++) {
      const j = order[k];
      const text = j === undefined ? "" : `${config.class_names[j]} · c ${decimal(share(i, j))}`;
      fill(k, "output", j, text);
    }
  };
}
