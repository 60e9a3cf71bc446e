/** Attention routing in numbers: b, c, s, v and the activation a that is read from v. */
import { activationsAt } from "../../state/timeline.js";
import { decimal } from "../number_format.js";
import { sharingInWords } from "./columns.js";
import { summingInWords, tableOfSums, valuesOfSums } from "./sums.js";

export const attention = { ...tableOfSums("a"), values, sentence };

function values(shown) {
  const { trace, moment } = shown;
  const a = activationsAt(trace, moment);
  return {
    ...valuesOfSums(shown),
    a: (j) => (a ? decimal(a[j]) : "–"),
    root: decimal(Math.sqrt(trace.D), 2),
  };
}

function sentence(values, moment, name, j) {
  const { iteration, line } = moment;
  if (line === 5) return summingInWords(values, name, j);
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
