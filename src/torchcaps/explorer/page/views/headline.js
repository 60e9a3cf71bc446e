/** What is said above the picture: the answer, what the image really is; and news for a screen reader. */
import { say } from "../browser/dom.js";
import { activationAt } from "../state/measures.js";
import { decimal } from "./number_format.js";
import { verdict } from "./output_capsules.js";
import { momentInWords } from "./playback.js";
import { wordsOf } from "./routing_words.js";
import { nothingYet } from "./subject.js";

/** `label(sample)` says what a sample is. */
export function createHeadline(
  { verdict: above, answer, truth, trouble },
  samples,
  label,
  config,
  subject,
) {
  return function update(state) {
    const said = state.result ? verdict(state, config) : nothingYet(subject);
    say(above, said);
    say(answer, said);
    say(truth, state.source !== null && state.result ? truthOf(samples[state.source], label) : "");
    say(trouble, state.trouble);
  };
}

function truthOf(sample, label) {
  return `${label(sample)}${sample.kind === "wrong" ? ", misread" : ""}.`;
}

/** The answer, the longest capsules and the moment shown; nothing while it plays. */
export function newsOf(state, config) {
  if (state.playing || !state.result) return "";
  const activation = activationAt(state.result, state.step);
  const known = Array.from(activation.keys()).filter((j) => activation[j] > 0);
  const order = known.sort((a, b) => activation[b] - activation[a]);
  const first = order
    .slice(0, 3)
    .map((j) => `${config.class_names[j]} ${decimal(activation[j], 2)}`);
  const { measure } = wordsOf(config);
  const measures = `${measure[0].toUpperCase()}${measure.slice(1)}s`;
  const said = first.length > 0 ? `${measures}: ${first.join(", ")}. ` : "";
  return `${verdict(state, config)} ${said}${momentInWords(state.step, state.iterations)}.`;
}
