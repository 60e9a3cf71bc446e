/** What the views need of one evaluated image beyond its trace, computed once. */
import { lengthOf } from "../engine/math.js";
import { votesOf } from "../engine/network.js";
import { activationsAt, couplingAt, hasAgreement, momentOf, posesAt } from "./timeline.js";

/**
 * awake: |u_i|; voteLengths: |û_ij|; weights: what a vote weighs beside its share, its length, or in
 * EM |u_i|; lastAgreement: û_ij · v_j with the final poses, which routing itself does not need (line 7
 * is not reached in the last iteration). mostFrom: of each output, the input that in the end sends it
 * most.
 */
export function measure(model, result) {
  const { I, J, D } = result.trace;
  const P = result.primary.length / I;
  const last = result.trace.poses[result.trace.poses.length - 1];
  const measures = {
    I,
    J,
    D,
    awake: new Float32Array(I),
    voteLengths: new Float32Array(I * J),
    lastAgreement: new Float32Array(I * J),
    mostFrom: new Int32Array(J),
  };
  for (let i = 0; i < I; i++) {
    measures.awake[i] = lengthOf(result.primary, i * P, P);
    const votes = votesOf(model, result.primary, i);
    for (let j = 0; j < J; j++) {
      measures.voteLengths[i * J + j] = lengthOf(votes, j * D, D);
      let sum = 0;
      for (let d = 0; d < D; d++) sum += votes[j * D + d] * last[j * D + d];
      measures.lastAgreement[i * J + j] = sum;
    }
  }
  const { awake, voteLengths } = measures;
  const byPlace = result.trace.name === "em"; // a vote is a place there, and may be 0
  measures.weights = byPlace ? voteLengths.map((_, ij) => awake[Math.floor(ij / J)]) : voteLengths;
  const final = result.trace.coupling[result.trace.coupling.length - 1];
  for (let j = 0; j < J; j++) {
    const sent = (i) => final[i * J + j] * measures.weights[i * J + j];
    for (let i = 1; i < I; i++) if (sent(i) > sent(measures.mostFrom[j])) measures.mostFrom[j] = i;
  }
  return measures;
}

/**
 * û_ij · v_j with the poses shown at this moment, as a function of ij; null before there are any,
 * and where routing does not compare so.
 */
export function agreementAt(result, measures, moment) {
  const { name, logits, D } = result.trace;
  if (!hasAgreement(name) || posesAt(result.trace, moment) === null) return null;
  const round = moment.line >= 6 ? moment.iteration : moment.iteration - 1;
  if (round >= logits.length) return (ij) => measures.lastAgreement[ij];
  if (name === "attention") return (ij) => logits[round][ij] * Math.sqrt(D);
  // An iteration's agreement is what it added to the logits.
  return (ij) => logits[round][ij] - logits[round - 1][ij];
}

/** How active the outputs are at a step, in dynamic routing |v_j|; zeros before the first pose. */
export function activationAt({ trace }, step) {
  return activationsAt(trace, momentOf(step, trace.poses.length)) ?? new Float32Array(trace.J);
}

/** The input capsules that send most to output j, c_ij times its weight, the strongest first. */
export function strongest(result, measures, j, moment, count) {
  const { I, J } = measures;
  const coupling = couplingAt(result.trace, moment);
  const sent = (i) => measures.weights[i * J + j] * (coupling ? coupling[i * J + j] : 1);
  const order = Array.from({ length: I }, (_, i) => i);
  return order.sort((a, b) => sent(b) - sent(a)).slice(0, count);
}
