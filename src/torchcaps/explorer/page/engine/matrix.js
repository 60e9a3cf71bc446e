// The one loop in which the time is spent: scalar products of the rows of two tables.

const DEPTH = 512; // numbers of a row at a time, so that the rows at work stay in fast memory

/**
 * out[start + i·pitch + j] += Σ_k a[i, k] · b[j, k] for all rows i of a and j of b.
 *
 * Both tables have rows of `depth` numbers, one after the other. Four rows of a and three of b are
 * worked on together: 12 sums, as many as a processor holds, from 7 numbers read.
 */
export function addProducts(a, rowsA, b, rowsB, depth, out, start = 0, pitch = rowsB) {
  const tiledA = rowsA - (rowsA % 4);
  const tiledB = rowsB - (rowsB % 3);
  for (let from = 0; from < depth; from += DEPTH) {
    const to = Math.min(from + DEPTH, depth);
    for (let i = 0; i < tiledA; i += 4) {
      for (let j = 0; j < tiledB; j += 3) {
        addTile(a, i * depth, b, j * depth, depth, from, to, out, start + i * pitch + j, pitch);
      }
    }
    for (let i = 0; i < rowsA; i++) {
      for (let j = i < tiledA ? tiledB : 0; j < rowsB; j++) {
        out[start + i * pitch + j] += product(a, i * depth, b, j * depth, from, to);
      }
    }
  }
}

/** Four rows of a, from position a0, with three of b, from b0. */
// biome-ignore format: a row of the tile in a line
function addTile(a, a0, b, b0, depth, from, to, out, o0, pitch) {
  const a1 = a0 + depth, a2 = a1 + depth, a3 = a2 + depth;
  const b1 = b0 + depth, b2 = b1 + depth;
  let s00 = 0, s01 = 0, s02 = 0;
  let s10 = 0, s11 = 0, s12 = 0;
  let s20 = 0, s21 = 0, s22 = 0;
  let s30 = 0, s31 = 0, s32 = 0;
  for (let k = from; k < to; k++) {
    const y0 = b[b0 + k], y1 = b[b1 + k], y2 = b[b2 + k];
    const x0 = a[a0 + k], x1 = a[a1 + k], x2 = a[a2 + k], x3 = a[a3 + k];
    s00 += x0 * y0; s01 += x0 * y1; s02 += x0 * y2;
    s10 += x1 * y0; s11 += x1 * y1; s12 += x1 * y2;
    s20 += x2 * y0; s21 += x2 * y1; s22 += x2 * y2;
    s30 += x3 * y0; s31 += x3 * y1; s32 += x3 * y2;
  }
  const o1 = o0 + pitch, o2 = o1 + pitch, o3 = o2 + pitch;
  out[o0] += s00; out[o0 + 1] += s01; out[o0 + 2] += s02;
  out[o1] += s10; out[o1 + 1] += s11; out[o1 + 2] += s12;
  out[o2] += s20; out[o2 + 1] += s21; out[o2 + 2] += s22;
  out[o3] += s30; out[o3 + 1] += s31; out[o3 + 2] += s32;
}

/** One row with one row; four sums, since one would wait for itself at every step. */
function product(a, a0, b, b0, from, to) {
  // biome-ignore format: they belong together
  let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
  let k = from;
  for (; k + 3 < to; k += 4) {
    s0 += a[a0 + k] * b[b0 + k];
    s1 += a[a0 + k + 1] * b[b0 + k + 1];
    s2 += a[a0 + k + 2] * b[b0 + k + 2];
    s3 += a[a0 + k + 3] * b[b0 + k + 3];
  }
  for (; k < to; k++) s0 += a[a0 + k] * b[b0 + k];
  return s0 + s1 + (s2 + s3);
}
