/** From pixels to votes: what the input capsule sees, its matrix W, and all votes for the class. */
import { element, say } from "../browser/dom.js";
import { seenInput, shownOutput } from "../state/selection.js";
import { nameOf } from "./capsule_layout.js";
import { createCapsulePixels } from "./capsule_pixels.js";
import { createVoteArrows } from "./vote_arrows.js";
import { createWeightMatrix } from "./weight_matrix.js";

// What is drawn changes with these alone: pointing moves no arrows, and a step no pixels.
const OF_PIXELS = ["ready", "image", "result", "input", "output", "hovered", "excited"];
const OF_ARROWS = ["ready", "result", "step", "input", "output"];

export function createPair(parts, model, config, most) {
  const { pixels, names } = parts;
  const box = element("div", { class: "patches" });
  pixels.append(box);
  const showPatches = createCapsulePixels(box, most, config);
  const showMatrix = createWeightMatrix(parts.matrix, model, config);
  const arrows = createVoteArrows(parts.arrows, model, config);

  function update(state, changed) {
    const isNew = (keys) => keys.some((key) => changed.has(key));
    box.hidden = !state.result;
    if (state.result && isNew(OF_PIXELS)) {
      const i = seenInput(state);
      say(names.capsule, `: ${nameOf(i, config.primary_grid)}`);
      say(names.class, ` ${config.class_names[shownOutput(state)]}`);
      showPatches(i, state.image);
    }
    showMatrix(state);
    if (isNew(OF_ARROWS)) arrows.update(state);
  }
  return { update, repaint: arrows.repaint };
}
