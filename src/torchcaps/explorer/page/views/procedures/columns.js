/** Columns that the tables of several routings have, and the words of their first lines. */
import { lengthOf } from "../../engine/math.js";
import {
  couplingUpdatedAt,
  couplingUsedAt,
  firstCoupling,
  logitsAt,
} from "../../state/timeline.js";
import { decimal } from "../number_format.js";

/** Logit and coupling of the input capsule with each class; "before": its logit before line 7. */
export function sharing({ trace, moment, i, config }) {
  const { J } = trace;
  const b = logitsAt(trace, moment);
  const [c, updated] = [couplingUsedAt(trace, moment), couplingUpdatedAt(trace, moment)];
  return {
    b: (j) => decimal(b ? b[i * J + j] : 0),
    "c used": (j) => decimal(c ? c[i * J + j] : firstCoupling(config)),
    "c updated": (j) => (updated ? decimal(updated[i * J + j]) : "–"),
    before: (j) => decimal(moment.iteration ? trace.logits[moment.iteration - 1][i * J + j] : 0),
  };
}

/** The lengths of the rows of a table [J·D]; dashes where there is none yet. */
export function size(rows, D) {
  return (j) => (rows ? decimal(lengthOf(rows, j * D, D)) : "–");
}

/** What lines 2 and 4 do; null of the others. */
export function sharingInWords(values, { line }, name, j) {
  if (line === 2) {
    return `Nothing is known: every b is 0, so class ${name} gets the same share as all, ${values["c used"](j)}.`;
  }
  if (line === 4)
    return `For class ${name}: b = ${values.b(j)}, and the softmax makes it c = ${values["c used"](j)}.`;
  return null;
}
