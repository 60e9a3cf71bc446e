// Dynamic routing: Procedure 1 of Sabour, Frosst and Hinton (2017), line by line.
//
// Lines 1 to 3, and the order of the others, are the loop's: see route.js. û_ij are the votes, b_ij
// logits, c_ij coupling, s_j sums and v_j poses.

import { agreement, lengths, softmax, squash, weightedSums } from "../math.js";

export const dynamic = { couple, gather, settle, score };

/** Line 4: c_i = softmax(b_i). Leaky: there is one output more, "none of them", with logit 0. */
function couple({ J, settings: { leaky } }, b) {
  return softmax(b, J, leaky);
}

/** Line 5: s_j = Σ_i c_ij û_ij. */
function gather(given, c) {
  return weightedSums(given, c);
}

/** Line 6: v_j = squash(s_j). An output capsule is as active as its pose is long: |v_j|. */
function settle({ D }, s) {
  const v = squash(s, D);
  return { poses: v, activation: lengths(v, D) };
}

/** Line 7: b_ij += û_ij · v_j. */
function score({ values, D }, { poses: v }, b) {
  const a = agreement(values, v, D);
  return b.map((logit, ij) => logit + a[ij]);
}
