// Dynamic routing: Procedure 1 of Sabour, Frosst and Hinton (2017), line by line.
//
// Lines 1 and 3, and the order of the others, are the loop's: see route.js. û_ij are the votes, b_ij
// logits, c_ij coupling, s_j sums and v_j poses.

import { agreement, lengths, squash } from "../math.js";

export const dynamic = { start, couple, gather, settle, score, finish };

/** Line 2: b_ij = 0. */
function start({ I, J }) {
  return new Float32Array(I * J);
}

/** Line 4: c_i = softmax(b_i). Leaky: there is one output more, "none of them", with logit 0. */
function couple({ J }, b, { leaky }) {
  const c = new Float32Array(b.length);
  for (let row = 0; row < b.length; row += J) {
    let top = leaky ? 0 : -Infinity;
    for (let j = 0; j < J; j++) top = Math.max(top, b[row + j]);
    let total = leaky ? Math.exp(-top) : 0;
    for (let j = 0; j < J; j++) total += Math.exp(b[row + j] - top);
    for (let j = 0; j < J; j++) c[row + j] = Math.exp(b[row + j] - top) / total;
  }
  return c;
}

/** Line 5: s_j = Σ_i c_ij û_ij, in double precision until it is done. */
function gather({ values, J, D }, c) {
  const s = new Float64Array(J * D);
  for (let ij = 0; ij < c.length; ij++) {
    const weight = c[ij];
    const from = ij * D;
    const to = (ij % J) * D;
    for (let d = 0; d < D; d++) s[to + d] += weight * values[from + d];
  }
  return Float32Array.from(s);
}

/** Line 6: v_j = squash(s_j). */
function settle({ D }, s) {
  return squash(s, D);
}

/** Line 7: b_ij += û_ij · v_j. */
function score({ values, D }, v, b) {
  const a = agreement(values, v, D);
  return b.map((logit, ij) => logit + a[ij]);
}

/** An output capsule is as active as its pose is long: |v_j|. */
function finish({ D }, v) {
  return lengths(v, D);
}
