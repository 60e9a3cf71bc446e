/** Which capsules are in the light: those that someone picked, or else the telling ones. */
import { longest } from "../engine/math.js";
import { momentOf } from "./timeline.js";

/** The picked output capsule, or the longest. */
export function shownOutput(state) {
  if (state.output !== null) return state.output;
  return state.result ? longest(state.result.activation) : 0;
}

/** The picked input capsule, or the one that in the end sends most to the output shown. */
export function shownInput(state) {
  if (state.input !== null) return state.input;
  if (!state.result) return 0;
  return state.measures.mostFrom[shownOutput(state)];
}

/** The input capsule that is pointed at, by pointer or keys, or else the one in the light. */
export function seenInput(state) {
  return state.hovered ?? shownInput(state);
}

/** The moment of Procedure 1 that the page shows. */
export function shownMoment(state) {
  return momentOf(state.step, state.result ? state.result.trace.poses.length : state.iterations);
}
