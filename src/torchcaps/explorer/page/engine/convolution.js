// Convolutions over maps: {values [channels][height][width], channels, height, width}.

import { addProducts } from "./matrix.js";

const POSITIONS = 60; // that are worked on together: bounds the memory

/** Maps → maps; weights [out][in][kernel][kernel], a bias for each channel that comes out. */
export function convolve(given, weights, bias, { kernel, stride, padding }) {
  const maps = padding > 0 ? padded(given, padding) : given;
  const height = Math.floor((maps.height - kernel) / stride) + 1;
  const width = Math.floor((maps.width - kernel) / stride) + 1;
  const places = height * width;
  const values = new Float32Array(bias.length * places);
  for (let k = 0; k < bias.length; k++) values.fill(bias[k], k * places, (k + 1) * places);
  const depth = maps.channels * kernel * kernel;
  const patches = new Float32Array(Math.min(POSITIONS, places) * depth);
  for (let first = 0; first < places; first += POSITIONS) {
    const count = Math.min(POSITIONS, places - first);
    gather(maps, kernel, stride, width, first, count, patches);
    addProducts(weights, bias.length, patches, count, depth, values, first, places);
  }
  return { values, channels: bias.length, height, width };
}

/** What the kernel sees at `count` places, a row each, in the order of the weights. */
function gather(maps, size, stride, width, first, count, patches) {
  let to = 0;
  for (let place = first; place < first + count; place++) {
    const corner = (Math.floor(place / width) * maps.width + (place % width)) * stride;
    for (let channel = 0; channel < maps.channels; channel++) {
      for (let y = 0; y < size; y++) {
        const from = (channel * maps.height + y) * maps.width + corner;
        for (let x = 0; x < size; x++) patches[to++] = maps.values[from + x];
      }
    }
  }
}

/** With a border of zeros. */
function padded(maps, border) {
  const [height, width] = [maps.height + 2 * border, maps.width + 2 * border];
  const values = new Float32Array(maps.channels * height * width);
  for (let row = 0; row < maps.channels * maps.height; row++) {
    const channel = Math.floor(row / maps.height);
    const to = (channel * height + border + (row % maps.height)) * width + border;
    values.set(maps.values.subarray(row * maps.width, (row + 1) * maps.width), to);
  }
  return { values, channels: maps.channels, height, width };
}

/** Twice as high and wide, each number four times. */
export function doubled(maps) {
  const [height, width] = [2 * maps.height, 2 * maps.width];
  const values = new Float32Array(maps.channels * height * width);
  for (let k = 0; k < values.length; k++) {
    // Rows of all channels lie one after the other, and there are twice as many.
    const row = Math.floor(k / width) >> 1;
    values[k] = maps.values[row * maps.width + ((k % width) >> 1)];
  }
  return { values, channels: maps.channels, height, width };
}

/** The values of the upper left corner of each map, of a size [height, width]. */
export function cropped(maps, [height, width]) {
  if (maps.height === height && maps.width === width) return maps.values;
  const values = new Float32Array(maps.channels * height * width);
  for (let row = 0; row < maps.channels * height; row++) {
    const from = (Math.floor(row / height) * maps.height + (row % height)) * maps.width;
    values.set(maps.values.subarray(from, from + width), row * width);
  }
  return values;
}
