/**
 * Where in Procedure 1 a step is, and what is known there.
 *
 * Step 0 is line 2: b = 0, nothing computed. Each iteration then has four steps, its lines 4 to 7;
 * in the last one the fourth is "return", for an update after the last pose would change nothing.
 * Other routings have steps of the same kind: share out (4), sum (5), settle (6), score (7).
 */
import { clamp } from "../engine/math.js";

export const STEPS = 4;
export const MOST_ITERATIONS = 10; // that the page shows
export const RETURN = 8;

/** How many iterations the page opens with: the network's own, as far as it shows so many. */
export function openingIterations(config) {
  return clamp(config.routing.iterations, 1, MOST_ITERATIONS);
}

export function lastStep(iterations) {
  return STEPS * iterations;
}

export function momentOf(step, iterations) {
  if (step <= 0) return { iteration: 0, line: 2 };
  const here = Math.min(step, lastStep(iterations));
  const iteration = Math.ceil(here / STEPS);
  const line = here - STEPS * (iteration - 1) + 3;
  return { iteration, line: line === 7 && iteration === iterations ? RETURN : line };
}

/** The c that an iteration works with, over (i, j), or null before the first: equal shares. */
export function couplingUsedAt(trace, { iteration }) {
  return iteration === 0 ? null : trace.coupling[iteration - 1];
}

/** The c that line 7 has led to, for the next iteration; null where nothing was updated. */
export function couplingUpdatedAt(trace, { iteration, line }) {
  return line === 7 ? trace.coupling[iteration] : null;
}

/** The c that is known at a moment: after line 7 the updated one, else the one that is used. */
export function couplingAt(trace, moment) {
  return couplingUpdatedAt(trace, moment) ?? couplingUsedAt(trace, moment);
}

/** b as an array over (i, j), or null while all of it is 0. */
export function logitsAt(trace, { iteration, line }) {
  if (iteration === 0) return null;
  return trace.logits[line === 7 ? iteration : iteration - 1];
}

/** s, or null when none has been computed yet; between lines it is the one of the round before. */
export function sumsAt(trace, { iteration, line }) {
  return latest(trace.sums, iteration, line >= 5);
}

/** v, likewise. */
export function posesAt(trace, { iteration, line }) {
  return latest(trace.poses, iteration, line >= 6);
}

/** All that EM knows of the Gaussians, which line 5 fits. */
export function fitAt(trace, { iteration, line }) {
  return latest(trace.states, iteration, line >= 5);
}

/** How active the outputs are, likewise. */
export function activationsAt(trace, { iteration, line }) {
  return latest(trace.activations, iteration, line >= 6);
}

function latest(rounds, iteration, computed) {
  const round = computed ? iteration : iteration - 1;
  return round >= 1 ? rounds[round - 1] : null;
}

/** How many outputs an input capsule divides itself among; leaky: "none of them" is one more. */
export function outputsOf(config) {
  return config.class_names.length + (config.routing.leaky ? 1 : 0);
}

/** Each output's share where all have the same. */
export function equalShare(config) {
  return 1 / outputsOf(config);
}

/** The coupling that every pair starts with: an equal share, or, by an option of EM, the whole. */
export function firstCoupling(config) {
  return config.routing.first_coupling === "whole" ? 1 : equalShare(config);
}

/** Whether votes are compared with poses by û·v; EM has them fit a Gaussian instead. */
export function hasAgreement(name) {
  return name !== "em";
}
