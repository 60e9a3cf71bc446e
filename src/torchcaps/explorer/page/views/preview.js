/** What the network sees; of a capsule pointed at or picked, the pixels that lead to it in the light. */
import { showPixels } from "../browser/canvas.js";
import { receptiveField } from "../state/receptive_field.js";

const SHOWN = ["image", "result", "hovered", "input"];

export function createPreview(canvas, config) {
  return function update(state, changed) {
    if (!SHOWN.some((key) => changed.has(key))) return;
    const i = state.hovered ?? state.input;
    const light = state.result && i !== null ? receptiveField(config, i) : null;
    showPixels(canvas, state.image, config.image_size, config.channels, light);
  };
}
