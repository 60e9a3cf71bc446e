/** Procedure 1 in numbers: b, c, s and v, line by line. */
import { posesAt, RETURN, sumsAt } from "../../state/timeline.js";
import { signed } from "../number_format.js";
import { sharing, sharingInWords, size } from "./columns.js";

export const dynamic = {
  columns: ["class", "b", "c used", "|û|", "|s|", "|v|", "û·v", "c updated"],
  lit: {
    2: ["b"],
    4: ["c used"],
    5: ["|s|"],
    6: ["|v|"],
    7: ["û·v", "b", "c updated"],
    [RETURN]: ["|v|"],
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
  return {
    ...sharing(shown),
    "|û|": size(votes, D),
    "û·v": (j) => (agreement ? signed(agreement(i * J + j)) : "–"),
    "|s|": size(sumsAt(trace, moment), D),
    "|v|": size(posesAt(trace, moment), D),
  };
}

function sentence(values, moment, name, j) {
  const { iteration, line } = moment;
  if (line === 5) {
    return `All votes for ${name}, each times its c, add up to a vector of length |s| = ${values["|s|"](j)}.`;
  }
  if (line === 6)
    return `Squash turns |s| = ${values["|s|"](j)} into |v| = ${values["|v|"](j)}, below 1.`;
  if (line === 7) {
    return `This vote’s agreement with ${name} is ${values["û·v"](j)}: b goes from ${values.before(j)} to ${values.b(j)}, so that c will be ${values["c updated"](j)} where it was ${values["c used"](j)}.`;
  }
  return (
    sharingInWords(values, moment, name, j) ??
    `After iteration ${iteration}, class ${name} has length ${values["|v|"](j)}.`
  );
}
