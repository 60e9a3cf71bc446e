// The network forward: image → convolutions → primary capsules → votes → routing → reconstruction.
//
// The order of everything is that of the PyTorch model.

import { convolve, cropped, doubled } from "./convolution.js";
import { floatsFromBase64 } from "./float16.js";
import { lengths, logistic, longest, squash } from "./math.js";
import { misfit, present } from "./misfit.js";
import { route } from "./route.js";

const ROUTING = "classes.routing."; // before the names of what the routing has learned

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
  const has = (name) => name in tensors;
  // What the routing has learned, by its own names.
  const learned = () =>
    Object.fromEntries(
      Object.keys(tensors)
        .filter((name) => name.startsWith(ROUTING))
        .map((name) => [name.slice(ROUTING.length), weights(name)]),
    );
  return { config, I, J, D, P, weights, has, learned };
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
  const { stem, primary } = model.config;
  let maps = standardised(model, image);
  stem.forEach((layer, n) => {
    maps = relu(layerOf(model, `stem.${n}`, layer, maps));
  });
  maps = layerOf(model, "primary", primary, maps);
  return squash(grouped(maps.values, maps.height * maps.width, model.P), model.P);
}

/** (x − mean) / s.d., channel by channel, as maps. */
function standardised(model, image) {
  const { channels, image_size, mean, std } = model.config;
  const [height, width] = image_size;
  const values = image.map((x, k) => {
    const channel = Math.floor(k / (height * width));
    return (x - mean[channel]) / std[channel];
  });
  return { values, channels, height, width };
}

function layerOf(model, name, layer, maps) {
  return convolve(maps, model.weights(`${name}.weight`), model.weights(`${name}.bias`), layer);
}

/** Negative numbers become 0, in place. */
function relu(maps) {
  const { values } = maps;
  for (let k = 0; k < values.length; k++) if (values[k] < 0) values[k] = 0;
  return maps;
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

/** The votes of input capsule i: û_ij = W_ij u_i (+ bias_j), [J·D]. */
export function votesOf(model, primary, i) {
  const votes = new Float32Array(model.J * model.D);
  castVotes(model, primary, i, votes, 0);
  return votes;
}

/** The votes of all input capsules, and what else `route` takes. */
export function allVotes(model, primary) {
  const { I, J, D, P } = model;
  const values = new Float32Array(I * J * D);
  for (let i = 0; i < I; i++) castVotes(model, primary, i, values, i * J * D);
  return { values, I, J, D, activation: lengths(primary, P), learned: model.learned() };
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
  const { reconstruct: draws, decoder, image_size } = model.config;
  if (!draws) return null;
  const { D } = model;
  const values = new Float32Array(pose.length);
  values.set(pose.subarray(k * D, (k + 1) * D), k * D);
  let maps = { values, channels: values.length, height: 1, width: 1 };
  decoder.forEach((layer, n) => {
    const laid = laidOut(maps, layer.grid);
    maps = layerOf(model, `decoder.${n}`, layer, layer.doubled ? doubled(laid) : laid);
    if (n < decoder.length - 1) relu(maps);
  });
  // Where the last layer is fully connected, its one place holds the whole image.
  const whole = maps.height * maps.width === 1 ? laidOut(maps, image_size) : maps;
  return cropped(whole, image_size).map(logistic);
}

/** The same numbers over a grid [height, width]. */
function laidOut({ values }, [height, width]) {
  return { values, channels: values.length / (height * width), height, width };
}

/**
 * All of it: {primary, trace, activation, shown (the most active class), reconstruction of it, misfit: how
 * unlike the image is what all long classes draw}; without a decoder the last two are null.
 */
export function evaluate(model, image, iterations) {
  const primary = primaryCapsules(model, image);
  const settings = { ...model.config.routing, iterations };
  const { activation, ...trace } = route(allVotes(model, primary), settings);
  const shown = longest(activation);
  const draw = (k) => reconstruct(model, trace.poses.at(-1), k);
  const reconstruction = draw(shown);
  const drawings = () =>
    present(activation, model.config).map((k) => (k === shown ? reconstruction : draw(k)));
  const unlike = reconstruction && misfit(image, drawings(), model.config);
  return { primary, trace, activation, reconstruction, shown, misfit: unlike };
}

/** What the page asks of its engine: a request {kind, …} → the result. */
export function answer(model, request) {
  if (request.kind === "evaluate") return evaluate(model, request.image, request.iterations);
  if (request.kind === "primary") return primaryCapsules(model, request.image);
  if (request.kind === "reconstruct") return reconstruct(model, request.pose, request.k);
  throw new Error(`no such request: ${request.kind}`);
}
