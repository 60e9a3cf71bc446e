// CapsNet forward: image → convolution → primary capsules → votes → routing → reconstruction.
//
// Names of weights and the order of everything are those of the PyTorch model.

import { floatsFromBase64 } from "./float16.js";
import { squash } from "./math.js";
import { addProducts } from "./matrix.js";
import { route } from "./route.js";

const POSITIONS = 60; // of a convolution that are worked on together: bounds the memory

/**
 * The model in the page's data. Weights are decoded when they are first asked for, so that a page
 * which leaves the work to its worker holds only what it uses itself.
 *
 * I input capsules of P numbers, J output capsules of D.
 */
export function readModel(data) {
  const { config, tensors } = data;
  const decoded = new Map();
  const weights = (name) => {
    if (!decoded.has(name)) decoded.set(name, decode(name, tensors[name]));
    return decoded.get(name);
  };
  const [I, J, D, P] = tensors["classes.weight"].shape;
  return { config, I, J, D, P, weights, has: (name) => name in tensors };
}

function decode(name, tensor) {
  const floats = floatsFromBase64(tensor.data);
  const expected = tensor.shape.reduce((product, side) => product * side, 1);
  if (floats.length !== expected) {
    throw new Error(`${name} holds ${floats.length} numbers, not ${expected}: the page is damaged`);
  }
  return floats;
}

/** Image [C·H·W] in [0, 1] → poses [I·P]; capsule (type, y, x) has index (type·H' + y)·W' + x. */
export function primaryCapsules(model, image) {
  const { channels, image_size, kernel_size, conv_stride, primary_stride } = model.config;
  const pixels = { values: image, channels, height: image_size[0], width: image_size[1] };
  const features = convolve(model, "conv", pixels, kernel_size, conv_stride);
  const { values } = features;
  for (let k = 0; k < values.length; k++) if (values[k] < 0) values[k] = 0;
  const maps = convolve(model, "primary.conv", features, kernel_size, primary_stride);
  return squash(grouped(maps.values, maps.height * maps.width, model.P), model.P);
}

/** Maps [types·P][places] → capsules [types][places][P]: channels t·P … (t+1)·P − 1 are a pose. */
function grouped(maps, places, P) {
  const poses = new Float32Array(maps.length);
  for (let channel = 0; channel < maps.length / places; channel++) {
    const first = (channel - (channel % P)) * places + (channel % P);
    for (let g = 0; g < places; g++) poses[first + g * P] = maps[channel * places + g];
  }
  return poses;
}

/** A convolution without padding: maps {values, channels, height, width} → the same. */
function convolve(model, name, maps, size, stride) {
  const bias = model.weights(`${name}.bias`);
  const height = Math.floor((maps.height - size) / stride) + 1;
  const width = Math.floor((maps.width - size) / stride) + 1;
  const places = height * width;
  const values = new Float32Array(bias.length * places);
  for (let k = 0; k < bias.length; k++) values.fill(bias[k], k * places, (k + 1) * places);
  const depth = maps.channels * size * size;
  const patches = new Float32Array(Math.min(POSITIONS, places) * depth);
  for (let first = 0; first < places; first += POSITIONS) {
    const count = Math.min(POSITIONS, places - first);
    gather(maps, size, stride, width, first, count, patches);
    const weights = model.weights(`${name}.weight`);
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

/** The votes of input capsule i: û_ij = W_ij u_i (+ bias_j), [J·D]. */
export function votesOf(model, primary, i) {
  const votes = new Float32Array(model.J * model.D);
  castVotes(model, primary, i, votes, 0);
  return votes;
}

/** The votes of all input capsules, as `route` takes them. */
export function allVotes(model, primary) {
  const { I, J, D } = model;
  const values = new Float32Array(I * J * D);
  for (let i = 0; i < I; i++) castVotes(model, primary, i, values, i * J * D);
  return { values, I, J, D };
}

function castVotes(model, primary, i, votes, to) {
  const { J, D, P } = model;
  const weights = model.weights("classes.weight");
  const bias = model.has("classes.bias") ? model.weights("classes.bias") : null;
  let from = i * J * D * P;
  for (let jd = 0; jd < J * D; jd++) {
    let sum = bias === null ? 0 : bias[jd];
    for (let p = 0; p < P; p++) sum += weights[from++] * primary[i * P + p];
    votes[to + jd] = sum;
  }
}

/** Draw class k from poses [J·D], all others masked: [C·H·W] in [0, 1]; null without a decoder. */
export function reconstruct(model, pose, k) {
  if (!model.config.reconstruct) return null;
  const { D } = model;
  let values = new Float32Array(pose.length);
  values.set(pose.subarray(k * D, (k + 1) * D), k * D);
  const last = model.config.decoder_hidden.length;
  for (let layer = 0; layer <= last; layer++) {
    // In PyTorch the layers are numbered with the ReLUs between them.
    const sums = model.weights(`decoder.layers.${2 * layer}.bias`).slice();
    const weights = model.weights(`decoder.layers.${2 * layer}.weight`);
    addProducts(weights, sums.length, values, 1, values.length, sums);
    values = sums.map(layer < last ? (x) => Math.max(x, 0) : (x) => 1 / (1 + Math.exp(-x)));
  }
  return values;
}

/** All of it: {primary, trace, lengths, shown (the longest class), reconstruction of it}. */
export function evaluate(model, image, iterations) {
  const primary = primaryCapsules(model, image);
  const settings = { ...model.config.routing, iterations };
  const { activation, ...trace } = route(allVotes(model, primary), settings);
  const shown = activation.indexOf(Math.max(...activation));
  const reconstruction = reconstruct(model, trace.poses.at(-1), shown);
  return { primary, trace, lengths: activation, reconstruction, shown };
}

/** What the page asks of its engine: a request {kind, …} → the result. */
export function answer(model, request) {
  if (request.kind === "evaluate") return evaluate(model, request.image, request.iterations);
  if (request.kind === "reconstruct") return reconstruct(model, request.pose, request.k);
  throw new Error(`no such request: ${request.kind}`);
}
