// EM routing: Hinton, Sabour and Frosst (2018), matrix capsules. Outputs are Gaussians, fitted to
// the votes by expectation maximisation.
//
// û_ij are the votes, b_ij logits, c_ij coupling (R), a_i activations of the inputs; of an output
// m_j is the mass, μ_j (its pose) the mean, σ_j² the variances, z_j the logit of its activation a_j.
// Learned: "beta_a" and "beta_u" [J]. All sums are in double precision, about a centre: the mean of
// the iteration before, or at first of all votes.

import { logistic, softmax } from "../math.js";

export const em = { couple, gather, settle, score };

const DECAY = 0.95; // of what λ_t lacks to λ
const ORDINARY = 1e6; // votes beyond this size have a least variance in proportion to it
const SMALLEST = 1e-12; // variance, of votes of size 1

/** c_i = softmax(b_i); of the first iteration 1/J, or 1 for every output. */
function couple({ J, settings }, b, t) {
  if (t === 1 && settings.first_coupling === "whole") return b.map(() => 1);
  return softmax(b, J);
}

/** Σ_i w_ij and, with d_ij = û_ij − centre_j, Σ_i w_ij d_ij and Σ_i w_ij d_ij²; w_ij = c_ij a_i. */
function gather(given, c, before) {
  const { values, activation, J, D } = given;
  const { centre, least } = before ?? firstCentre(given);
  const mass = new Float64Array(J);
  const [first, second] = [new Float64Array(J * D), new Float64Array(J * D)];
  for (let ij = 0; ij < c.length; ij++) {
    const weight = c[ij] * activation[Math.floor(ij / J)];
    mass[ij % J] += weight;
    for (let d = 0, to = (ij % J) * D; d < D; d++, to++) {
      const distance = values[ij * D + d] - centre[to];
      first[to] += weight * distance;
      second[to] += weight * distance * distance;
    }
  }
  return { mass, first, second, centre, least };
}

/** The mean of the votes for each output, and the least variance that goes with their size. */
function firstCentre({ values, I, J, D, settings }) {
  const centre = new Float64Array(J * D);
  const size = new Float64Array(J);
  for (let k = 0; k < values.length; k++) {
    const to = k % (J * D);
    centre[to] += values[k] / I;
    size[Math.floor(to / D)] = Math.max(size[Math.floor(to / D)], Math.abs(values[k]));
  }
  const least = size.map((most) =>
    Math.max(settings.variance_floor, SMALLEST * (most > ORDINARY ? most * most : 1)),
  );
  return { centre, least };
}

/** The M-step: μ_j, σ_j², and a_j = σ(λ_t (β_a − m_j Σ_h (β_u + ln σ_jh))). */
function settle({ J, D, settings, learned }, sums, before, t) {
  const { mass, first, second, centre, least } = sums;
  const rho = settings.mean_momentum;
  const lambda = inverseTemperature(settings, mass, t);
  const [mean, variance] = [new Float64Array(J * D), new Float64Array(J * D)];
  const z = new Float64Array(J);
  for (let j = 0; j < J; j++) {
    const m = mass[j] + settings.mass_floor;
    let cost = D * learned.beta_u[j];
    for (let k = j * D; k < (j + 1) * D; k++) {
      const weighted = (centre[k] * mass[j] + first[k]) / m;
      mean[k] = (1 - rho) * weighted + rho * (before?.mean[k] ?? 0);
      const shift = mean[k] - centre[k];
      const spread = second[k] - 2 * shift * first[k] + shift * shift * mass[j];
      variance[k] = Math.max(0, spread) / m + least[j];
      cost += 0.5 * Math.log(variance[k]);
    }
    z[j] = lambda * (learned.beta_a[j] - m * cost);
  }
  const [poses, activation] = [Float32Array.from(mean), Float32Array.from(z, logistic)];
  return { poses, activation, mass, mean, centre: mean, variance, z, least };
}

/** λ_t: what was set, or by default so that z does not grow with the number of active inputs. */
function inverseTemperature(settings, mass, t) {
  const warm = (n) => (settings.constant_lambda ? 1 : 1 - DECAY ** n);
  if (settings.final_lambda !== null) return settings.final_lambda * warm(t);
  const active = Math.max(
    1,
    mass.reduce((sum, m) => sum + m, 0),
  );
  return ((settings.lambda_scale * mass.length) / active) * (warm(t) / warm(settings.iterations));
}

/** The E-step: b_ij = ln a_j + ln N(û_ij; μ_j, σ_j²). */
function score({ values, J, D }, { mean, variance, z }) {
  const atMean = z.map((logit, j) => {
    let log = Math.min(logit, 0) - Math.log1p(Math.exp(-Math.abs(logit))); // ln a_j
    for (let k = j * D; k < (j + 1) * D; k++) log -= 0.5 * Math.log(2 * Math.PI * variance[k]);
    return log;
  });
  const b = new Float32Array(values.length / D);
  for (let ij = 0; ij < b.length; ij++) {
    let log = atMean[ij % J];
    for (let d = 0, k = (ij % J) * D; d < D; d++, k++) {
      log -= (values[ij * D + d] - mean[k]) ** 2 / (2 * variance[k]);
    }
    b[ij] = log;
  }
  return b;
}
