/** From pixels to votes: what the input capsule sees, its matrix W, and all votes for the class. */
import { element, say } from "../browser/dom.js";
import { seenInput, shownOutput } from "../state/selection.js";
import { nameOf } from "./capsule_layout.js";
import { createCapsulePixels } from "./capsule_pixels.js";
import { createVoteArrows } from "./vote_arrows.js";
import { createWeightMatrix } from "./weight_matrix.js";

export function createPair(parts, model, config, most) {
  const { pixels, names } = parts;
  const box = element("div", { class: "patches" });
  pixels.append(box);
  const showPatches = createCapsulePixels(box, most, config);
  const showMatrix = createWeightMatrix(parts.matrix, model, config);
  const arrows = createVoteArrows(parts.arrows, model, config);

  function update(state) {
    box.hidden = !state.result;
    if (state.result) {
      const i = seenInput(state);
      say(names.capsule, `: ${nameOf(i, config.primary_grid)}`);
      say(names.class, ` ${config.class_names[shownOutput(state)]}`);
      showPatches(i, state.image);
    }
    showMatrix(state);
    arrows.update(state);
  }
  return { update, repaint: arrows.repaint };
}
