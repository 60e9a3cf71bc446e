/** EM routing in numbers: b, c and, of the Gaussian of each class, mass, mean, spread, activation. */
import { activationsAt, fitAt, RETURN } from "../../state/timeline.js";
import { decimal } from "../number_format.js";
import { sharing, sharingInWords } from "./columns.js";

export const em = {
  columns: ["class", "b", "c used", "m", "|û − μ|", "σ", "a", "c updated"],
  lit: {
    2: ["b"],
    4: ["c used"],
    5: ["m", "|û − μ|", "σ"],
    6: ["a"],
    7: ["b", "c updated"],
    [RETURN]: ["a"],
  },
  vectors: [
    ["û", "vote of the input capsule"],
    ["μ", "mean of the votes: pose of the output capsule"],
    ["σ", "spread of the votes"],
  ],
  values,
  strips,
  sentence,
};

function values(shown) {
  const { trace, moment, votes } = shown;
  const { D } = trace;
  const fit = fitAt(trace, moment);
  const a = activationsAt(trace, moment);
  const ofFit = (number) => (j) => (fit ? decimal(number(j)) : "–");
  return {
    ...sharing(shown),
    m: ofFit((j) => fit.mass[j]),
    "|û − μ|": ofFit((j) => distance(votes, fit.mean, j * D, D)),
    "σ": ofFit((j) => typicalDeviation(fit.variance, j * D, D)),
    a: (j) => (a ? decimal(a[j]) : "–"),
  };
}

function distance(votes, mean, start, D) {
  let square = 0;
  for (let k = start; k < start + D; k++) square += (votes[k] - mean[k]) ** 2;
  return Math.sqrt(square);
}

/** The geometric mean of the D standard deviations: what ln σ is added up from. */
function typicalDeviation(variance, start, D) {
  let logs = 0;
  for (let k = start; k < start + D; k++) logs += 0.5 * Math.log(variance[k]);
  return Math.exp(logs / D);
}

function strips({ trace, moment, votes }) {
  const fit = fitAt(trace, moment);
  return [votes, fit?.mean, fit?.variance.map(Math.sqrt)];
}

function sentence(values, moment, name, j) {
  const { iteration, line } = moment;
  if (line === 4 && iteration === 1) {
    return `At first every class gets c = ${values["c used"](j)} of this capsule.`;
  }
  if (line === 5) {
    return `A Gaussian is fitted to all votes for ${name}, each weighing c times its capsule’s length: together m = ${values.m(j)}. They spread by σ = ${values["σ"](j)} around their mean; this one lies ${values["|û − μ|"](j)} from it.`;
  }
  if (line === 6) {
    return `Votes cost less to describe the closer together they lie. The less all votes for ${name} cost, the more active it is: a = ${values.a(j)}.`;
  }
  if (line === 7) {
    return `How well the Gaussian of ${name} explains this vote is the new b, ${values.b(j)}, so that c will be ${values["c updated"](j)} where it was ${values["c used"](j)}.`;
  }
  return (
    sharingInWords(values, moment, name, j) ??
    `After iteration ${iteration}, class ${name} has activation ${values.a(j)}.`
  );
}
