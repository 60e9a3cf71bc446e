/** Procedure 1 in numbers: b, c, s and v, line by line. */
import { posesAt } from "../../state/timeline.js";
import { sharingInWords, size } from "./columns.js";
import { summingInWords, tableOfSums, valuesOfSums } from "./sums.js";

export const dynamic = { ...tableOfSums("|v|"), values, sentence };

function values(shown) {
  const { trace, moment } = shown;
  return { ...valuesOfSums(shown), "|v|": size(posesAt(trace, moment), trace.D) };
}

function sentence(values, moment, name, j) {
  const { iteration, line } = moment;
  if (line === 5) return summingInWords(values, name, j);
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
