// Small mathematics: vectors, of which a table is one array, row after row; and limits of numbers.

/** Eq 1 for every row of D numbers: v = |s|² / (1 + |s|²) · s / |s|, and 0 for 0. */
export function squash(s, D) {
  const v = new Float32Array(s.length);
  for (let row = 0; row < s.length; row += D) {
    let square = 0;
    for (let d = 0; d < D; d++) square += s[row + d] * s[row + d];
    const scale = Math.sqrt(square) / (1 + square);
    for (let d = 0; d < D; d++) v[row + d] = scale * s[row + d];
  }
  return v;
}

/** The scalar product û_ij · v_j of every vote with the pose it was cast for: [I·J]. */
export function agreement(votes, pose, D) {
  const a = new Float32Array(votes.length / D);
  for (let ij = 0; ij < a.length; ij++) {
    const from = ij * D;
    const own = from % pose.length; // where v_j begins
    let sum = 0;
    for (let d = 0; d < D; d++) sum += votes[from + d] * pose[own + d];
    a[ij] = sum;
  }
  return a;
}

/** Of every row of J logits; with one more term of logit 0 in the sum, if so wanted. */
export function softmax(logits, J, oneMore = false) {
  const shares = new Float32Array(logits.length);
  for (let row = 0; row < logits.length; row += J) {
    let top = oneMore ? 0 : -Infinity;
    for (let j = 0; j < J; j++) top = Math.max(top, logits[row + j]);
    let total = oneMore ? Math.exp(-top) : 0;
    for (let j = 0; j < J; j++) total += Math.exp(logits[row + j] - top);
    for (let j = 0; j < J; j++) shares[row + j] = Math.exp(logits[row + j] - top) / total;
  }
  return shares;
}

/** Σ_i c_ij û_ij for every output: [J·D], added up in double precision. */
export function weightedSums({ values, J, D }, coupling) {
  const sums = new Float64Array(J * D);
  for (let ij = 0; ij < coupling.length; ij++) {
    const weight = coupling[ij];
    const from = ij * D;
    const to = (ij % J) * D;
    for (let d = 0; d < D; d++) sums[to + d] += weight * values[from + d];
  }
  return Float32Array.from(sums);
}

/** |v_j| of every row of D numbers. */
export function lengths(pose, D) {
  const found = new Float32Array(pose.length / D);
  for (let j = 0; j < found.length; j++) {
    let square = 0;
    for (let d = 0; d < D; d++) square += pose[j * D + d] ** 2;
    found[j] = Math.sqrt(square);
  }
  return found;
}

export function lengthOf(vector, start = 0, size = vector.length) {
  let sum = 0;
  for (let d = start; d < start + size; d++) sum += vector[d] * vector[d];
  return Math.sqrt(sum);
}

/** σ(z) = 1 / (1 + e^−z). */
export function logistic(z) {
  return 1 / (1 + Math.exp(-z));
}

export function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

/** The index of the largest number; of equal ones, the first. */
export function longest(lengths) {
  let best = 0;
  for (let j = 1; j < lengths.length; j++) if (lengths[j] > lengths[best]) best = j;
  return best;
}
