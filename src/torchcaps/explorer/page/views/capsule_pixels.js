/** What an input capsule sees, and what excites it: pictures in a box of the page or in a tip. */
import { showPixels } from "../browser/canvas.js";
import { element } from "../browser/dom.js";
import { patchOf, receptiveField } from "../state/receptive_field.js";
import { decimal } from "./number_format.js";

const PATCHES = 4;

/**
 * `show(i, image)` draws into the box: the pixels that capsule i sees, and the patches of the page's
 * images for which it was longest. `most` is that of `createExcitation`.
 */
export function createCapsulePixels(box, most, config) {
  const sees = picture("what it sees");
  const excites = Array.from({ length: PATCHES }, () => picture(""));
  const words = element("p", { class: "hint" }, "Longest for:");
  box.append(sees.figure, words, ...excites.map(({ figure }) => figure));

  function picture(text) {
    const canvas = element("canvas", { class: "pixels", role: "img" });
    const caption = element("figcaption", {}, text);
    return { canvas, caption, figure: element("figure", { class: "patch" }, canvas, caption) };
  }

  return function show(i, image) {
    const field = receptiveField(config, i);
    const draw = (canvas, whole, label) => {
      const patch = patchOf(whole, field, config);
      showPixels(canvas, patch, [field.size, field.size], config.channels);
      canvas.setAttribute("aria-label", label);
    };
    draw(sees.canvas, image, "The pixels that this capsule sees");
    const found = most(i, PATCHES);
    words.hidden = found.length === 0;
    excites.forEach(({ canvas, caption, figure }, k) => {
      figure.hidden = k >= found.length;
      if (figure.hidden) return;
      draw(
        canvas,
        found[k].image,
        `A patch for which it has length ${decimal(found[k].length, 2)}`,
      );
      caption.textContent = decimal(found[k].length, 2);
    });
  };
}
