// How unlike the image is what the network draws back. The exporter has the same, and the limit that
// held-out images give, in explorer/misfit.py.

import { longest } from "./math.js";

export const LONG = 0.5; // half-way between the margins: a capsule that counts as present
const SURE = 0.85; // a single capsule of this length is believed, whatever it draws

/**
 * The classes whose capsules are long, or else the longest alone; where activations are no lengths,
 * for which training asks no value, the most active.
 */
export function present(activation, { routing }) {
  const found = [];
  activation.forEach((a, k) => {
    if (routing.name === "dynamic" && a >= LONG) found.push(k);
  });
  return found.length > 0 ? found : [longest(activation)];
}

/** Whether several capsules are long, or none is long enough to be believed. */
export function isDoubtful(activation) {
  return activation.filter((a) => a >= LONG).length > 1 || Math.max(...activation) < SURE;
}

/**
 * Σ (drawn − image)² / Σ image². Of several drawings each pixel is the brightest, or, where the
 * ground (the uppermost row) is light, the darkest.
 */
export function misfit(image, drawings, { channels, image_size: [rows, columns] }) {
  let ground = 0;
  for (let c = 0; c < channels; c++) {
    for (let x = 0; x < columns; x++) ground += image[c * rows * columns + x];
  }
  const pick = ground / (channels * columns) > 0.5 ? Math.min : Math.max;
  let unlike = 0;
  let whole = 0;
  for (let p = 0; p < image.length; p++) {
    unlike += (pick(...drawings.map((drawing) => drawing[p])) - image[p]) ** 2;
    whole += image[p] ** 2;
  }
  return unlike / Math.max(whole, 1e-6);
}
