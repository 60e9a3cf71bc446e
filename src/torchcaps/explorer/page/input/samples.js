/** Images that come with the page: a strip of them, of which one is put onto the board. */
import { showPixels } from "../browser/canvas.js";
import { element } from "../browser/dom.js";
import { rovingTabindex } from "../browser/roving_tabindex.js";

const GROUPS = [
  ["right", "Read right"],
  ["wrong", "Read wrong"],
  ["overlap", "Two at once"],
];

/** The strip's images: base64 of bytes [N × channels × height × width] → one Float32Array each. */
export function readSamples(samples) {
  const bytes = Uint8Array.from(atob(samples.images), (letter) => letter.charCodeAt(0));
  const size = samples.channels * samples.height * samples.width;
  return samples.labels.map((label, n) => ({
    image: Float32Array.from(bytes.subarray(n * size, (n + 1) * size), (value) => value / 255),
    label,
    label2: samples.labels2?.[n] ?? null,
    kind: samples.kinds?.[n] ?? "right",
  }));
}

/** A sample, one square of the board for each of its pixels. */
export function sampleBase(sample, config, index) {
  const small = document.createElement("canvas");
  showPixels(small, sample.image, config.image_size, config.channels);
  return {
    kind: "sample",
    index,
    image: sample.image,
    paint(context) {
      context.imageSmoothingEnabled = false;
      context.drawImage(small, 0, 0, context.canvas.width, context.canvas.height);
      context.imageSmoothingEnabled = true;
    },
  };
}

export function createStrip(box, samples, board, config) {
  const buttons = [];
  for (const [kind, title] of GROUPS) {
    const found = samples
      .map((sample, n) => [sample, n])
      .filter(([sample]) => sample.kind === kind);
    if (found.length === 0) continue;
    const row = element("div", { class: "strip-row", role: "toolbar", "aria-label": title });
    for (const [sample, n] of found) {
      const canvas = element("canvas", { "aria-hidden": "true" });
      showPixels(canvas, sample.image, config.image_size, config.channels);
      const words = labelOf(sample, config);
      const button = element(
        "button",
        { type: "button", class: "sample", "aria-label": words, title: words },
        canvas,
      );
      button.addEventListener("click", () => board.put(sampleBase(sample, config, n)));
      row.append(button);
      buttons[n] = button;
    }
    rovingTabindex(row, "button");
    box.append(element("h3", { class: `strip-${kind}` }, title), row);
  }
  return function mark(index) {
    buttons.forEach((button, n) => {
      button.setAttribute("aria-pressed", String(n === index));
    });
  };
}

/** What a sample is, by its label. */
export function labelOf(sample, config) {
  const { label, label2 } = sample;
  if (label === null) return "A held-out image without a label";
  if (label2 !== null)
    return `Labels: ${config.class_names[label]} and ${config.class_names[label2]}`;
  return `Label: ${config.class_names[label]}`;
}
