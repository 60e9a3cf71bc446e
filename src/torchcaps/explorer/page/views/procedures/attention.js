/** Attention routing in numbers: b, c, s, v and the activation a that is read from v. */
import { activationsAt, posesAt, RETURN, sumsAt } from "../../state/timeline.js";
import { decimal, signed } from "../number_format.js";
import { sharing, sharingInWords, size } from "./columns.js";

export const attention = {
  columns: ["class", "b", "c used", "|û|", "|s|", "a", "û·v", "c updated"],
  lit: {
    2: ["b"],
    4: ["c used"],
    5: ["|s|"],
    6: ["a"],
    7: ["û·v", "b", "c updated"],
    [RETURN]: ["a"],
  },
  vectors: [
    ["û", "vote of the input capsule"],
    ["s", "sum of all votes"],
    ["v", "pose of the output capsule"],
  ],
  values,
  strips: ({ trace, moment, votes }) => [votes, sumsAt(trace, moment), posesAt(trace, moment)],
  sentence,
};

function values(shown) {
  const { trace, moment, i, votes, agreement } = shown;
  const { J, D } = trace;
  const a = activationsAt(trace, moment);
  return {
    ...sharing(shown),
    "|û|": size(votes, D),
    "û·v": (j) => (agreement ? signed(agreement(i * J + j)) : "–"),
    "|s|": size(sumsAt(trace, moment), D),
    a: (j) => (a ? decimal(a[j]) : "–"),
    root: decimal(Math.sqrt(D), 2),
  };
}

function sentence(values, moment, name, j) {
  const { iteration, line } = moment;
  if (line === 5) {
    return `All votes for ${name}, each times its c, add up to a vector of length |s| = ${values["|s|"](j)}.`;
  }
  if (line === 6) {
    return `The sum is normalised: that is the pose v of ${name}. Learned weights read from it how active ${name} is, a = ${values.a(j)}.`;
  }
  if (line === 7) {
    return `This vote’s agreement with ${name}, ${values["û·v"](j)}, over √D = ${values.root} is the new b, ${values.b(j)}, so that c will be ${values["c updated"](j)} where it was ${values["c used"](j)}.`;
  }
  return (
    sharingInWords(values, moment, name, j) ??
    `After iteration ${iteration}, class ${name} has activation ${values.a(j)}.`
  );
}
