// Inverted dot-product attention: Tsai, Srivastava, Goh and Salakhutdinov (2020).
//
// û_ij are the votes, b_ij logits, c_ij coupling, s_j sums and v_j poses. Logits are replaced, not
// added up. Learned: "norm.weight" and "norm.bias" [D], which one number (D = 1) has not, and
// "head.weight" [D] and "head.bias" [1]: the map from a pose to its activation.

import { agreement, clamp, logistic, softmax, weightedSums } from "../math.js";

export const attention = { couple, gather, settle, score };

const EPSILON = 1e-5; // beside a variance
const ORDINARY = 1e6; // the size to which larger sums are first brought
const LARGEST = 1.7e38; // half the largest number of float32

/** c_i = softmax(b_i): every input attends to the outputs. */
function couple({ J }, b) {
  return softmax(b, J);
}

/** s_j = Σ_i c_ij û_ij. */
function gather(given, c) {
  return weightedSums(given, c);
}

/** v_j = LayerNorm(s_j), and a_j = σ(w · v_j + w_0). */
function settle({ J, D, learned }, s) {
  const v = D === 1 ? s : normalised(s, D, learned["norm.weight"], learned["norm.bias"]);
  const [w, [first]] = [learned["head.weight"], learned["head.bias"]];
  const activation = new Float32Array(J);
  for (let j = 0; j < J; j++) {
    let z = first;
    for (let d = 0; d < D; d++) z += w[d] * v[j * D + d];
    activation[j] = logistic(z);
  }
  return { poses: v, activation };
}

/** Every row of D numbers with mean 0 and variance 1, then times `weight` plus `bias`. */
function normalised(s, D, weight, bias) {
  const v = new Float32Array(s.length);
  for (let row = 0; row < s.length; row += D) {
    const numbers = Float64Array.from(s.subarray(row, row + D));
    const size = numbers.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    if (size > ORDINARY) for (let d = 0; d < D; d++) numbers[d] *= ORDINARY / size;
    const mean = numbers.reduce((sum, x) => sum + x, 0) / D;
    const variance = numbers.reduce((sum, x) => sum + (x - mean) ** 2, 0) / D;
    const deviation = Math.sqrt(variance + EPSILON);
    for (let d = 0; d < D; d++)
      v[row + d] = ((numbers[d] - mean) / deviation) * weight[d] + bias[d];
  }
  return v;
}

/** b_ij = û_ij · v_j / √D. */
function score({ values, D }, { poses: v }) {
  const scale = 1 / Math.sqrt(D);
  return agreement(values, v, D).map((a) => clamp(scale * a, -LARGEST, LARGEST));
}
