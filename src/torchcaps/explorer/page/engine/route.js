// The loop that all routings share; what one of them computes is stated in routings/<name>.js.
//
// I input capsules vote for J output capsules of D numbers each. Tables lie in one array, row after
// row: votes (û) are [I·J·D], logits (b) and coupling (c) [I·J], sums (s) and poses (v) [J·D].

import { ROUTINGS } from "./routings/table.js";

/**
 * Route, and keep every iteration.
 *
 * votes: {values [I·J·D], I, J, D}. settings: {name, iterations, …}, the name of a routing in the
 * table, and its own options. Returns {I, J, D, logits, coupling, sums, poses, activation}: entry t
 * of each list is what iteration t + 1 worked with; activation [J] is of the last poses.
 */
export function route(votes, settings) {
  const routing = ROUTINGS[settings.name];
  if (routing === undefined) throw new Error(`this page has no routing ${settings.name}`);
  const { I, J, D } = votes;
  const trace = { I, J, D, logits: [], coupling: [], sums: [], poses: [] };
  let logits = routing.start(votes);
  for (let t = 1; t <= settings.iterations; t++) {
    const coupling = routing.couple(votes, logits, settings);
    const sums = routing.gather(votes, coupling);
    const poses = routing.settle(votes, sums);
    trace.logits.push(logits);
    trace.coupling.push(coupling);
    trace.sums.push(sums);
    trace.poses.push(poses);
    // A score after the last pose would change nothing.
    if (t < settings.iterations) logits = routing.score(votes, poses, logits);
  }
  return { ...trace, activation: routing.finish(votes, trace.poses.at(-1)) };
}
