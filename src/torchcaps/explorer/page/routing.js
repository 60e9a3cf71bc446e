// Dynamic routing: Procedure 1 of Sabour, Frosst and Hinton (2017), every iteration kept.
//
// I input capsules vote for J output capsules of D numbers each. Tables lie in one array, row after
// row: û (votes) is [I·J·D], b (logits) and c (coupling) are [I·J], s (sums) and v (poses) [J·D].

/** Route; entry t of each list is what iteration t + 1 worked with: b, c, s, v. */
export function route(votes, I, J, D, iterations, leaky = false) {
  const trace = { I, J, D, logits: [], coupling: [], sums: [], poses: [] };
  let b = new Float32Array(I * J); //                       line 2: b_ij = 0
  for (let t = 1; t <= iterations; t++) { //                line 3: r times
    const c = softmax(b, J, leaky); //                      line 4: c_i = softmax(b_i)
    const s = weightedSum(c, votes, J, D); //               line 5: s_j = Σ_i c_ij û_ij
    const v = squash(s, D); //                              line 6: v_j = squash(s_j)
    trace.logits.push(b);
    trace.coupling.push(c);
    trace.sums.push(s);
    trace.poses.push(v);
    if (t < iterations) { //            (an update after the last pose would change nothing)
      const a = agreement(votes, v, D);
      b = b.map((logit, ij) => logit + a[ij]); //           line 7: b_ij += û_ij · v_j
    }
  }
  return trace;
}

/** Over the outputs of each input. Leaky: there is one more, "none of them", with logit 0. */
export function softmax(b, J, leaky = false) {
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

/** s_j = Σ_i c_ij û_ij, in double precision until it is done. */
export function weightedSum(c, votes, J, D) {
  const s = new Float64Array(J * D);
  for (let ij = 0; ij < c.length; ij++) {
    const weight = c[ij];
    const from = ij * D;
    const to = (ij % J) * D;
    for (let d = 0; d < D; d++) s[to + d] += weight * votes[from + d];
  }
  return Float32Array.from(s);
}

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

/** Of each iteration: the entropy of c_i, averaged over the inputs; log J where all are equal. */
export function entropies(trace) {
  const { I, J } = trace;
  return trace.coupling.map((c) => {
    let total = 0;
    for (let i = 0; i < I; i++) {
      let rest = 1; // with leaky routing, what goes to none of the outputs
      for (let j = 0; j < J; j++) {
        const share = c[i * J + j];
        rest -= share;
        if (share > 0) total -= share * Math.log(share);
      }
      if (rest > 1e-5) total -= rest * Math.log(rest);
    }
    return total / I;
  });
}

/** Mean |Δb| of each update: entry t is what iteration t + 1 changed; the last one changes none. */
export function meanChange(trace) {
  return trace.logits.slice(1).map((after, t) => {
    const before = trace.logits[t];
    return after.reduce((sum, b, ij) => sum + Math.abs(b - before[ij]), 0) / after.length;
  });
}
