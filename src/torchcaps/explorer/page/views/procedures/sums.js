/** What the tables of dynamic and attention routing share: votes are added up, and compared by û·v. */
import { posesAt, RETURN, sumsAt } from "../../state/timeline.js";
import { signed } from "../number_format.js";
import { sharing, size } from "./columns.js";

/** All but values and sentence; `active` is the column that line 6 computes: how active a class is. */
export function tableOfSums(active) {
  return {
    columns: ["class", "b", "c used", "|û|", "|s|", active, "û·v", "c updated"],
    lit: {
      2: ["b"],
      4: ["c used"],
      5: ["|s|"],
      6: [active],
      7: ["û·v", "b", "c updated"],
      [RETURN]: [active],
    },
    vectors: [
      ["û", "vote of the input capsule"],
      ["s", "sum of all votes"],
      ["v", "pose of the output capsule"],
    ],
    strips: ({ trace, moment, votes }) => [votes, sumsAt(trace, moment), posesAt(trace, moment)],
  };
}

/** The values of all columns but the active one. */
export function valuesOfSums(shown) {
  const { trace, moment, i, votes, agreement } = shown;
  const { J, D } = trace;
  return {
    ...sharing(shown),
    "|û|": size(votes, D),
    "û·v": (j) => (agreement ? signed(agreement(i * J + j)) : "–"),
    "|s|": size(sumsAt(trace, moment), D),
  };
}

/** What line 5 does. */
export function summingInWords(values, name, j) {
  return `All votes for ${name}, each times its c, add up to a vector of length |s| = ${values["|s|"](j)}.`;
}
