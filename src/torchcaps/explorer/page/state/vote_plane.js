/** The votes for one class in a plane: the two directions in which they are largest. */
import { votesOf } from "../engine/network.js";

const TURNS = 400; // of the subspace iteration; far more than it needs

/**
 * Of all votes û_ij for class j, as they are (no shares, no mean taken away, so that the origin stays
 * the origin): the two leading eigenvectors of Σ_i û_ij û_ijᵀ.
 *
 * Returns {votes [I·D], axes: [first, second], held: the part of Σ|û|² that lies in the plane}. The
 * axes are turned so that `pose` points right and up. The plane is the same at every iteration.
 */
export function votePlane(model, primary, pose, j) {
  const { I, D } = model;
  const votes = new Float32Array(I * D);
  for (let i = 0; i < I; i++) {
    votes.set(votesOf(model, primary, i).subarray(j * D, (j + 1) * D), i * D);
  }
  const moments = new Float64Array(D * D);
  for (let i = 0; i < I; i++) {
    for (let d = 0; d < D; d++) {
      for (let e = 0; e < D; e++) moments[d * D + e] += votes[i * D + d] * votes[i * D + e];
    }
  }
  const axes = leading(moments, D).map((axis) =>
    dot(axis, pose) < 0 ? axis.map((x) => -x) : axis,
  );
  let whole = 0;
  for (let d = 0; d < D; d++) whole += moments[d * D + d];
  const inside = axes.reduce((sum, axis) => sum + dot(axis, applied(moments, axis)), 0);
  return { votes, axes, held: whole > 0 ? inside / whole : 0 };
}

/** Where a vector lies in the plane: [right, up]. */
export function inPlane(axes, vectors, start = 0) {
  return axes.map((axis) => dot(axis, vectors, start));
}

/**
 * |Σ_i c_i û_i| / Σ_i c_i |û_i|: 1 where all votes point one way, near 0 where they cancel. `share(i)`
 * is c_i.
 */
export function unanimity(votes, D, share) {
  const sum = new Float64Array(D);
  let apart = 0;
  for (let i = 0; i < votes.length / D; i++) {
    let square = 0;
    for (let d = 0; d < D; d++) {
      sum[d] += share(i) * votes[i * D + d];
      square += votes[i * D + d] ** 2;
    }
    apart += share(i) * Math.sqrt(square);
  }
  return apart > 0 ? Math.sqrt(dot(sum, sum)) / apart : 0;
}

/** The two leading eigenvectors of a symmetric matrix, by subspace iteration. */
function leading(matrix, D) {
  const start = (at) => Float64Array.from({ length: D }, (_, d) => at(d));
  let first = unit(start((d) => 1 + 0.1 * d));
  // Of poses of one number there is no second direction: it is 0.
  let second = unit(
    start((d) => (d % 2 ? 1 : -1)),
    first,
  );
  second ??= start(() => 0);
  for (let turn = 0; turn < TURNS; turn++) {
    first = unit(applied(matrix, first)) ?? first;
    second = unit(applied(matrix, second), first) ?? unit(second, first) ?? second;
  }
  return [first, second];
}

function applied(matrix, vector) {
  const D = vector.length;
  return vector.map((_, d) => dot(vector, matrix, d * D));
}

/** A vector brought to length 1, and at right angles to `other`; null where nothing is left of it. */
function unit(vector, other = null) {
  const along = other ? dot(vector, other) : 0;
  const rest = other ? vector.map((x, d) => x - along * other[d]) : vector;
  const length = Math.sqrt(dot(rest, rest));
  return length > 1e-12 ? rest.map((x) => x / length) : null;
}

function dot(a, b, start = 0) {
  let sum = 0;
  for (let d = 0; d < a.length; d++) sum += a[d] * b[start + d];
  return sum;
}
