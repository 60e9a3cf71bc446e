// The loop that all routings share; what one of them computes is stated in routings/<name>.js.
//
// I input capsules vote for J output capsules of D numbers each. Tables lie in one array, row after
// row: votes (û) are [I·J·D], logits (b) and coupling (c) [I·J], poses (v) [J·D].

import { ROUTINGS } from "./routings/table.js";

/**
 * Route, and keep every iteration.
 *
 * votes: {values [I·J·D], I, J, D, activation [I], learned}: the last two, of the input capsules and
 * of the routing, where the routing asks for them. settings: {name, iterations, …}, the name of a
 * routing in the table, and its own options. Returns {name, I, J, D, logits, coupling, sums, states,
 * poses, activations, activation}: entry t of each list is what iteration t + 1 worked with or led
 * to; activation [J] is the last of them.
 */
export function route(votes, settings) {
  const routing = ROUTINGS[settings.name];
  if (routing === undefined) throw new Error(`this page has no routing ${settings.name}`);
  const { I, J, D } = votes;
  const given = { ...votes, settings };
  const trace = { name: settings.name, I, J, D, logits: [], coupling: [], sums: [], states: [] };
  let logits = new Float32Array(I * J); // 0
  let state = null;
  for (let t = 1; t <= settings.iterations; t++) {
    const coupling = routing.couple(given, logits, t);
    const sums = routing.gather(given, coupling, state);
    state = routing.settle(given, sums, state, t);
    trace.logits.push(logits);
    trace.coupling.push(coupling);
    trace.sums.push(sums);
    trace.states.push(state);
    // A score after the last pose would change nothing.
    if (t < settings.iterations) logits = routing.score(given, state, logits);
  }
  const poses = trace.states.map((one) => one.poses);
  const activations = trace.states.map((one) => one.activation);
  return { ...trace, poses, activations, activation: activations.at(-1) };
}
