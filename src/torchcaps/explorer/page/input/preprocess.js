/**
 * From the board's pixels to the network's. A drawing is fitted as the makers of MNIST did: the ink's
 * box is scaled, keeping its proportions, into 20×20 of 28×28 pixels, and its centre of mass put into
 * the middle.
 *
 * Images here are Float32Array [channels × height × width] in [0, 1], ink bright on black.
 */
import { clamp } from "../engine/math.js";

const INK = 0.1; // darker pixels are paper
const BOX = 20 / 28; // of the smaller side

/** Means over boxes of the source: `source` [h × w] → [height × width]. */
export function resample(source, w, h, box, width, height) {
  const result = new Float32Array(width * height);
  const across = Array.from({ length: width }, (_, x) => spans(box.left, box.width, x, width, w));
  for (let y = 0; y < height; y++) {
    const rows = spans(box.top, box.height, y, height, h);
    for (let x = 0; x < width; x++) {
      let sum = 0;
      let weight = 0;
      for (const [row, tall] of rows) {
        for (const [column, wide] of across[x]) {
          sum += tall * wide * source[row * w + column];
          weight += tall * wide;
        }
      }
      result[y * width + x] = weight > 0 ? sum / weight : 0;
    }
  }
  return result;
}

/** The source's pixels that target pixel `index` of `count` covers, and how much of each. */
function spans(start, extent, index, count, limit) {
  const from = start + (extent * index) / count;
  const to = start + (extent * (index + 1)) / count;
  const found = [];
  for (let k = Math.max(0, Math.floor(from)); k < Math.min(limit, Math.ceil(to)); k++) {
    const cover = Math.min(k + 1, to) - Math.max(k, from);
    if (cover > 1e-9) found.push([k, cover]);
  }
  return found;
}

/** The whole picture, stretched to the network's size, channel by channel. */
export function fitWhole(source, channels, w, h, width, height) {
  const result = new Float32Array(channels * width * height);
  const box = { left: 0, top: 0, width: w, height: h };
  for (let c = 0; c < channels; c++) {
    const plane = source.subarray(c * w * h, (c + 1) * w * h);
    result.set(resample(plane, w, h, box, width, height), c * width * height);
  }
  return result;
}

/** The box of all ink, or null where there is none. */
export function inkBox(source, w, h) {
  let [left, right, top, bottom] = [w, -1, h, -1];
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      if (source[y * w + x] <= INK) continue;
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = y;
    }
  }
  return right < 0 ? null : { left, top, width: right - left + 1, height: bottom - top + 1 };
}

/** As MNIST does it. `source` [h × w] → [height × width], or null without ink. */
export function fitAsMnist(source, w, h, width, height) {
  const box = inkBox(source, w, h);
  if (box === null) return null;
  const side = Math.max(1, Math.round(BOX * Math.min(width, height)));
  const scale = side / Math.max(box.width, box.height);
  const inner = {
    width: Math.max(1, Math.round(box.width * scale)),
    height: Math.max(1, Math.round(box.height * scale)),
  };
  const ink = resample(source, w, h, box, inner.width, inner.height);
  const peak = ink.reduce((most, value) => Math.max(most, value), 0);
  const centre = centreOfMass(ink, inner.width, inner.height);
  const left = clamp(Math.round(width / 2 - centre.x), 0, width - inner.width);
  const top = clamp(Math.round(height / 2 - centre.y), 0, height - inner.height);
  const result = new Float32Array(width * height);
  for (let y = 0; y < inner.height; y++) {
    for (let x = 0; x < inner.width; x++) {
      result[(top + y) * width + left + x] = ink[y * inner.width + x] / peak;
    }
  }
  return result;
}

function centreOfMass(ink, width, height) {
  let [sum, x, y] = [0, 0, 0];
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const value = ink[row * width + column];
      sum += value;
      x += value * (column + 0.5);
      y += value * (row + 0.5);
    }
  }
  return { x: x / sum, y: y / sum };
}

/** RGBA bytes → planes in [0, 1]: one of luminance, or red, green and blue. */
export function planes(rgba, channels) {
  const size = rgba.length / 4;
  const result = new Float32Array(channels * size);
  for (let p = 0; p < size; p++) {
    const [red, green, blue] = [rgba[4 * p], rgba[4 * p + 1], rgba[4 * p + 2]];
    if (channels === 1) {
      result[p] = (0.299 * red + 0.587 * green + 0.114 * blue) / 255;
    } else {
      result[p] = red / 255;
      result[size + p] = green / 255;
      result[2 * size + p] = blue / 255;
    }
  }
  return result;
}

/**
 * A photograph of writing → its ink alone: the paper (the median of the border) becomes black, and
 * dark ink on light paper bright.
 */
export function inkOf(grey, w, h) {
  const border = [];
  for (let x = 0; x < w; x++) border.push(grey[x], grey[(h - 1) * w + x]);
  for (let y = 0; y < h; y++) border.push(grey[y * w], grey[y * w + w - 1]);
  border.sort((a, b) => a - b);
  const paper = border[border.length >> 1];
  const sign = paper > 0.5 ? -1 : 1;
  const ink = grey.map((value) => Math.max(0, sign * (value - paper)));
  const most = ink.reduce((peak, value) => Math.max(peak, value), 0);
  if (most < 0.05) return ink.fill(0); // an even surface
  return ink.map((value) => clamp((value / most - 0.2) / 0.6, 0, 1)); // grain off, strokes full
}

/** The board's pixels as the network is to see them, or null when the board is empty. */
export function imageOf(board, config, fit) {
  const { width, height } = board.canvas;
  const [rows, columns] = config.image_size;
  if (board.base?.image && !board.hasStrokes) return board.base.image; // a sample goes in as it is
  const bytes = board.context.getImageData(0, 0, width, height).data;
  const source = planes(bytes, config.channels);
  if (fit === "centre" && board.base?.kind !== "sample") {
    const grey = config.channels === 1 ? source : planes(bytes, 1);
    const fitted = fitAsMnist(grey, width, height, columns, rows);
    if (fitted === null || config.channels === 1) return fitted;
    return new Float32Array(config.channels * fitted.length).map(
      (_, k) => fitted[k % fitted.length],
    );
  }
  const image = fitWhole(source, config.channels, width, height, columns, rows);
  return image.some((value) => value > 0.02) ? image : null;
}
