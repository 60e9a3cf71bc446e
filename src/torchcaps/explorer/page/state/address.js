/**
 * What is shown, as text after the # of the page's address, so that it can be shared.
 *
 * network=pairs, sample=3 or image=… (four bits a pixel), iterations, step, input, output, colour, contrast. What
 * is as it is on opening is left out; what makes no sense is passed over.
 */
import { hasAgreement, lastStep, MOST_ITERATIONS, openingIterations } from "./timeline.js";

const MOST_PIXELS = 1024; // beyond which a drawing is too much for an address
const GAINS = [1, 4, 16];

/** The text of a state; "" where nothing is shown that could be told. */
export function addressOf(state, config) {
  const said = new URLSearchParams();
  if (config.network) said.set("network", config.network);
  if (state.image === null) return said.toString();
  if (state.source !== null) said.set("sample", state.source);
  else if (canBeTold(config)) said.set("image", packed(state.image));
  else return said.toString();
  if (state.iterations !== openingIterations(config)) said.set("iterations", state.iterations);
  if (state.step < lastStep(state.iterations)) said.set("step", state.step);
  if (state.input !== null) said.set("input", state.input);
  if (state.output !== null) said.set("output", state.output);
  if (state.colourBy !== "coupling") said.set("colour", state.colourBy);
  if (state.gain !== 4) said.set("contrast", state.gain);
  return said.toString();
}

/** Of the two networks that a page may have, the data of the one that such a text names. */
export function networkOf(data, text) {
  const named = new URLSearchParams(text).get("network");
  return data.pairs && named === data.pairs.config.network ? data.pairs : data;
}

/** `{ sample, image, state }` of such a text; null where it names no image. */
export function readAddress(text, config, samples) {
  const said = new URLSearchParams(text);
  const whole = (name, least, most) => {
    const value = said.has(name) ? Number(said.get(name)) : NaN;
    return Number.isInteger(value) && value >= least && value <= most ? value : null;
  };
  const sample = whole("sample", 0, samples - 1);
  const image = sample === null && canBeTold(config) ? unpacked(said.get("image"), config) : null;
  if (sample === null && image === null) return null;
  const iterations = whole("iterations", 1, MOST_ITERATIONS) ?? openingIterations(config);
  const gain = whole("contrast", 1, 16);
  const [rows, columns] = config.primary_grid;
  const byAgreement = said.get("colour") === "agreement" && hasAgreement(config.routing.name);
  const state = {
    iterations,
    step: whole("step", 0, lastStep(iterations)) ?? lastStep(iterations),
    input: whole("input", 0, config.primary_types * rows * columns - 1),
    output: whole("output", 0, config.class_names.length - 1),
    colourBy: byAgreement ? "agreement" : "coupling",
    gain: GAINS.includes(gain) ? gain : 4,
  };
  return { sample, image, state };
}

function canBeTold({ channels, image_size: [rows, columns] }) {
  return channels === 1 && rows * columns <= MOST_PIXELS;
}

function packed(image) {
  const bytes = new Uint8Array(Math.ceil(image.length / 2));
  image.forEach((value, p) => {
    bytes[p >> 1] |= Math.round(15 * Math.min(1, Math.max(0, value))) << (p % 2 ? 0 : 4);
  });
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

function unpacked(text, { image_size: [rows, columns] }) {
  const size = rows * columns;
  const letters = 4 * Math.ceil(Math.ceil(size / 2) / 3);
  if (!text || !/^[\w-]+$/.test(text) || text.length > letters) return null;
  const padded = text.replaceAll("-", "+").replaceAll("_", "/").padEnd(letters, "=");
  let bytes;
  try {
    bytes = Uint8Array.from(atob(padded), (letter) => letter.charCodeAt(0));
  } catch {
    return null;
  }
  if (bytes.length !== Math.ceil(size / 2)) return null;
  return Float32Array.from({ length: size }, (_, p) => {
    return (p % 2 ? bytes[p >> 1] & 15 : bytes[p >> 1] >> 4) / 15;
  });
}
