/** With and without routing: how active each class is where every share stays equal, and routed. */
import { element, say } from "../browser/dom.js";
import { longest } from "../engine/math.js";
import { activationAt } from "../state/measures.js";
import { lastStep, STEPS } from "../state/timeline.js";
import { decimal } from "./number_format.js";
import { wordsOf } from "./routing_words.js";

export function createComparison({ table, words, rounds }, config) {
  const bars = config.class_names.map((name) => {
    const [before, after] = ["without", "with"].map((kind) =>
      element("span", { class: `compare-bar ${kind}` }),
    );
    const cells = ["without", "with"].map((kind) => element("td", { class: kind }, "–"));
    const row = element(
      "tr",
      {},
      element("th", { scope: "row", title: name }, name),
      element("td", { class: "compare-bars", "aria-hidden": "true" }, before, after),
      ...cells,
    );
    return { row, before, after, cells };
  });
  const heads = ["class", "", "r = 1", ""].map((text, k) =>
    // Nothing is said of the bars, which only show what the numbers beside them say.
    element(k === 1 ? "td" : "th", k === 1 ? { "aria-hidden": "true" } : { scope: "col" }, text),
  );
  table.append(
    element("thead", {}, element("tr", {}, ...heads)),
    element("tbody", {}, ...bars.map(({ row }) => row)),
  );

  return function update(state) {
    const r = state.result ? state.result.trace.poses.length : state.iterations;
    say(rounds, r === 1 ? "1 iteration" : `${r} iterations`);
    say(heads[3], `r = ${r}`);
    const [equal, routed] = state.result
      ? [activationAt(state.result, STEPS), activationAt(state.result, lastStep(r))]
      : [null, null];
    bars.forEach(({ row, before, after, cells }, j) => {
      before.style.transform = `scaleX(${equal ? equal[j] : 0})`;
      after.style.transform = `scaleX(${routed ? routed[j] : 0})`;
      const numbers = equal ? [decimal(equal[j], 2), decimal(routed[j], 2)] : ["–", "–"];
      cells.forEach((cell, k) => {
        say(cell, numbers[k]);
      });
      row.classList.toggle("best", routed !== null && j === longest(routed));
    });
    say(words, state.result ? inWords(equal, routed, r, config) : "Nothing to compare.");
  };
}

/** What routing has changed, in two sentences. */
function inWords(equal, routed, r, config) {
  const names = config.class_names;
  const { most } = wordsOf(config);
  if (r === 1) return "One iteration is no routing: every share is still equal. Set more of them.";
  const [before, after] = [longest(equal), longest(routed)];
  const told = (activation, j) => `${names[j]} (${decimal(activation[j], 2)})`;
  if (before !== after) {
    return `With equal shares the ${most} is ${told(equal, before)}. Routing makes it ${told(routed, after)}.`;
  }
  const lead = (activation) => {
    const others = Array.from(activation).filter((_, j) => j !== after);
    return activation[after] - Math.max(0, ...others);
  };
  return `Either way the ${most} is ${names[after]}. Its lead over the next is ${decimal(lead(equal), 2)} with equal shares, and ${decimal(lead(routed), 2)} routed.`;
}
