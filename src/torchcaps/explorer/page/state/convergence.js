/** Whether routing settles: of each iteration, how spread out c is and how much b still moves. */

/** Of each iteration: the entropy of c_i, averaged over the inputs; log J where all are equal. */
export function entropies(trace) {
  const { I, J } = trace;
  return trace.coupling.map((c) => {
    let total = 0;
    for (let i = 0; i < I; i++) {
      const given = c.subarray(i * J, (i + 1) * J).reduce((sum, share) => sum + share, 0);
      const whole = given > 1 + 1e-5 ? given : 1; // EM may first give every output the whole
      let rest = 1; // with leaky routing, what goes to none of the outputs
      for (let j = 0; j < J; j++) {
        const share = c[i * J + j] / whole;
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
