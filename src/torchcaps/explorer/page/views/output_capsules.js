/** The output capsules: one a class, as a bar its length between the margins, or its activation. */
import { element, say } from "../browser/dom.js";
import { rovingTabindex } from "../browser/roving_tabindex.js";
import { longest } from "../engine/math.js";
import { isDoubtful, LONG } from "../engine/misfit.js";
import { activationAt } from "../state/measures.js";
import { shownOutput } from "../state/selection.js";
import { lastStep, momentOf } from "../state/timeline.js";
import { decimal } from "./number_format.js";
import { wordsOf } from "./routing_words.js";

export function createOutputCapsules(list, store, config) {
  const { measure, margins } = wordsOf(config);
  const rows = config.class_names.map((name, j) => {
    const fill = element("span", { class: "bar-fill" });
    const port = element("span", { class: "port", "aria-hidden": "true" });
    const value = element("span", { class: "bar-value" }, "–");
    const label = element("span", { class: "bar-name" }, name);
    label.title = name;
    const button = element(
      "button",
      { type: "button", role: "radio", class: "output", "aria-checked": "false" },
      port,
      label,
      element("span", { class: "bar", "aria-hidden": "true" }, fill),
      value,
    );
    button.addEventListener("click", () => {
      const { input, output } = store.state;
      // A second click lets it go; the first one, while an input capsule is picked, only that one.
      store.set({ output: output === j && input === null ? null : j, input: null });
    });
    list.append(button);
    return { button, fill, port, value, name };
  });
  list.classList.toggle(
    "short-names",
    config.class_names.every((name) => name.length <= 2),
  );
  list.classList.toggle("without-margins", !margins);
  const rest = rovingTabindex(list, "button", (item) => item.click());

  function update(state) {
    const picked = shownOutput(state);
    const activation = state.result ? activationAt(state.result, state.step) : null;
    const best = activation ? longest(activation) : -1;
    rows.forEach((row, j) => {
      const active = activation ? activation[j] : 0;
      row.fill.style.transform = `scaleX(${active})`;
      row.port.style.setProperty("--length", active);
      say(row.value, activation && active > 0 ? decimal(active) : "–");
      row.button.classList.toggle("long", margins && active >= LONG);
      row.button.classList.toggle("best", j === best && active > 0);
      row.button.setAttribute("aria-checked", String(j === picked));
      row.button.setAttribute(
        "aria-label",
        `${row.name}: ${active > 0 ? `${measure} ${decimal(active)}` : `no ${measure} yet`}`,
      );
    });
    if (!list.contains(document.activeElement)) rest(rows[picked].button);
  }

  /** Where the lines end, relative to `stage`. */
  function ports(stage) {
    const frame = stage.getBoundingClientRect();
    return rows.map(({ port }) => {
      const box = port.getBoundingClientRect();
      return { x: box.left - frame.left, y: box.top + box.height / 2 - frame.top };
    });
  }
  return { update, ports };
}

/** In words: what the network makes of the image, as far as the iteration shown. */
export function verdict(state, config) {
  const { result, step } = state;
  const { iteration } = momentOf(step, result.trace.poses.length);
  const done = step >= lastStep(result.trace.poses.length);
  const activation = activationAt(result, step);
  if (activation.every((a) => a === 0) && !done) {
    return "Nothing is known yet: all shares are equal.";
  }
  const order = Array.from(activation.keys()).sort((a, b) => activation[b] - activation[a]);
  const named = (j) => `${config.class_names[j]} (${decimal(activation[j], 2)})`;
  const { most, less, margins } = wordsOf(config);
  if (!done) return `In iteration ${iteration}, the ${most} so far: ${named(order[0])}.`;
  if (activation[order[0]] < config.threshold) {
    return `Nothing I know: the ${most}, ${named(order[0])}, is ${less} ${config.threshold}.`;
  }
  const long = order.filter((j) => margins && activation[j] >= LONG);
  if (isUnlike(result, config)) {
    const told = long.length >= 2 ? `${named(long[0])} and ${named(long[1])}` : named(order[0]);
    return `Nothing I know: drawn back as ${told}, it is another picture.`;
  }
  if (!margins) {
    const sure = chance(activation, order[0]) >= 0.5;
    return sure
      ? `It sees: ${named(order[0])}.`
      : `It is not sure: the ${most} is ${named(order[0])}.`;
  }
  const digits = config.class_names.every((name) => /^\d$/.test(name));
  if (long.length >= 2 && config.at_once > 1) {
    return `It sees: ${long.map(named).join(" and ")}.`;
  }
  if (long.length >= 2) {
    const question = digits ? "Two digits?" : "Two at once?";
    return `${question} ${named(long[0])} and ${named(long[1])} are both long.`;
  }
  if (long.length === 1) return `It sees: ${named(order[0])}.`;
  return `It is not sure: the longest is ${named(order[0])}.`;
}

/** The class's part of all odds a / (1 − a): the chance that training without margins gives it. */
function chance(activations, j) {
  const odds = Array.from(activations, (a) => Math.max(a, 1e-7) / Math.max(1 - a, 1e-7));
  return odds[j] / odds.reduce((sum, each) => sum + each, 0);
}

/** Whether an image in doubt is drawn back less like itself than held-out images are. */
function isUnlike({ misfit, activation }, config) {
  const { threshold, misfit_limit: limit } = config;
  const doubtful = !wordsOf(config).margins || isDoubtful(activation);
  return threshold > 0 && limit !== null && misfit > limit && doubtful;
}
