/** The page: what it holds, and who hears of what. */
import { byId, say } from "./dom.js";
import { createBoard } from "./board.js";
import { createCells } from "./cells.js";
import { createCharts, chartFrame } from "./charts.js";
import { readPalette } from "./colours.js";
import { startEngine } from "./engine.js";
import { measure } from "./facts.js";
import { fitAsMnist, fitWhole, inkOf } from "./fit.js";
import { createStrip, createUploads, imageOf, labelOf, sampleBase } from "./intake.js";
import { createLegend } from "./legend.js";
import { lastStep } from "./moments.js";
import { allVotes, evaluate, primaryCapsules, readModel, reconstruct, votesOf } from "./network.js";
import { clamp, decimal } from "./numbers.js";
import { createOutputs, verdict } from "./outputs.js";
import { readSamples, showPixels } from "./pixels.js";
import { createPlayback, MOST_ROUNDS, momentInWords } from "./playback.js";
import { createProcedure } from "./procedure.js";
import { createReconstruction } from "./reconstruct.js";
import { agreement, entropies, meanChange, route } from "./routing.js";
import { createRoutingView } from "./routing_view.js";
import { whileInSight } from "./sight.js";
import { createStore } from "./store.js";
import { createTerms } from "./terms.js";
import { createTheme } from "./theme.js";
import { createTwoCapsules } from "./two_capsules.js";
import { createVoters } from "./voters.js";

const SETTLED = 700; // milliseconds after which a screen reader hears the news

const data = JSON.parse(byId("torchcaps-data").textContent);
const { config } = data;
const model = readModel(data);
const engine = startEngine(data);
const iterations = clamp(config.iterations, 1, MOST_ROUNDS);

const store = createStore({
  image: null, // what the network sees
  source: null, // index of the sample that it is, or null
  result: null,
  facts: null,
  reconstruction: null,
  iterations,
  step: lastStep(iterations),
  playing: false,
  input: null, // the input capsule picked, or null
  output: null, // the output capsule picked, or null: the longest
  colourBy: "coupling",
  gain: 4,
  trouble: "",
  waiting: 0, // evaluations under way
  ready: false,
});

/** `parts("play", "moment-words")` → { play, words }. */
function parts(...ids) {
  return Object.fromEntries(ids.map((id) => [id.replace(/^.*-/, ""), byId(id)]));
}

const samples = readSamples(data.samples);
let fit = config.channels === 1 ? "centre" : "whole";
const board = createBoard(byId("board"), config, takeImage);
const outputs = createOutputs(byId("outputs"), store, config);
const stage = byId("stage");
const view = createRoutingView(byId("picture"), store, config, () => outputs.ports(stage));
const cells = createCells(stage, byId("cells"), byId("tip"), store, view, config);
const playback = createPlayback(
  parts("play", "scrubber", "ticks", "moment-words", "rounds", "back", "on"),
  store,
);
const change = chartFrame(byId("change"), "Mean change of the logits, by iteration");
const entropy = chartFrame(byId("entropy"), "Mean entropy of the couplings, by iteration");
const updates = [
  outputs.update,
  playback.update,
  createLegend(
    {
      box: byId("legend"),
      colourBy: byId("colour-by"),
      gain: byId("gain"),
      note: byId("legend-note"),
    },
    store,
    config,
  ),
  createVoters({ heading: byId("voters-heading"), list: byId("voters") }, store, config),
  whileInSight(
    byId("steps"),
    createProcedure(
      parts("lines", "numbers-table", "numbers-caption", "sentence", "vectors"),
      model,
      store,
      config,
    ),
  ),
  whileInSight(
    byId("charts"),
    createCharts(
      {
        change: change.frame,
        changeWords: change.words,
        entropy: entropy.frame,
        entropyWords: entropy.words,
      },
      config,
    ),
  ),
  createReconstruction(
    {
      ...parts("draw-input", "draw-output", "draw-choice", "sliders", "draw-reset", "draw-free"),
      box: byId("drawing-parts"),
      words: byId("draw-words"),
    },
    engine,
    store,
    config,
  ),
];
const markSample = createStrip(byId("strip"), samples, board, config);

/** The board has changed: fit it, evaluate it, show it. */
async function takeImage() {
  const image = imageOf(board, config, fit);
  const source = board.base?.index !== undefined && !board.hasStrokes ? board.base.index : null;
  store.set({ image, source });
  byId("undo").disabled = !board.canUndo;
  if (image === null) store.set({ result: null, facts: null, input: null });
  else await evaluateImage(image);
}

async function evaluateImage(image) {
  const rounds = store.state.iterations;
  store.set({ waiting: store.state.waiting + 1 });
  try {
    const result = await engine.evaluate(image, rounds);
    // null: a newer image has taken its place. Or it came too late: cleared, or other iterations.
    if (result === null || store.state.image === null || rounds !== store.state.iterations) return;
    store.set({ result, facts: measure(model, result), trouble: "" });
  } catch (error) {
    store.set({ trouble: `The network could not be evaluated: ${error.message}` });
  } finally {
    store.set({ waiting: store.state.waiting - 1 });
  }
}

let settled = 0;
store.onChange((state, changed) => {
  if (changed.has("iterations") && state.image) evaluateImage(state.image);
  if (changed.has("image")) {
    showPixels(byId("preview"), state.image, config.image_size, config.channels);
  }
  byId("board-hint").hidden = state.image !== null || board.hasStrokes;
  if (changed.has("source")) markSample(state.source);
  if (["result", "step", "input", "output", "colourBy", "gain"].some((key) => changed.has(key))) {
    view.show();
  }
  for (const update of updates) update(state, changed);
  cells.update();
  say(byId("verdict"), verdict(state, config));
  say(byId("truth"), truth(state));
  say(byId("trouble"), state.trouble);
  clearTimeout(settled);
  settled = setTimeout(() => say(byId("news"), news(state)), SETTLED);
});

function truth(state) {
  if (state.source === null || !state.result) return "";
  const sample = samples[state.source];
  const misread = sample.kind === "wrong" ? ", misread" : "";
  return `${labelOf(sample, config)}${misread}.`;
}

function news(state) {
  if (state.playing || !state.result) return "";
  const { lengths } = state.result;
  const order = Array.from(lengths.keys()).sort((a, b) => lengths[b] - lengths[a]);
  const first = order.slice(0, 3).map((j) => `${config.class_names[j]} ${decimal(lengths[j], 2)}`);
  return `${verdict(state, config)} Lengths: ${first.join(", ")}. ${momentInWords(state.step, state.iterations)}.`;
}

byId("undo").addEventListener("click", () => board.undo());
byId("clear").addEventListener("click", () => {
  say(byId("notice"), "");
  board.clear();
});
byId("fit").value = fit;
byId("fit").addEventListener("change", () => {
  fit = byId("fit").value;
  board.repaint();
  takeImage();
});
byId("ink-label").hidden = config.channels === 1;
byId("ink").addEventListener("input", () => board.setInk(byId("ink").value));
document.addEventListener("keydown", (event) => {
  if (
    event.key !== "z" ||
    !(event.ctrlKey || event.metaKey) ||
    event.target.closest("input, textarea")
  )
    return;
  event.preventDefault();
  board.undo();
});

createUploads(
  { file: byId("file"), area: byId("board-frame"), notice: byId("notice") },
  board,
  config,
  () => fit,
);
createTerms();
createTwoCapsules({
  planes: byId("planes"),
  table: byId("shares"),
  scenes: byId("scenes"),
  rounds: byId("two-rounds"),
  words: byId("two-words"),
});
createTheme(byId("theme"), () => view.repaint(readPalette()));

const [rows, columns] = config.image_size;
say(byId("title"), data.title);
for (const place of document.querySelectorAll("[data-size]")) say(place, `${columns} × ${rows}`);
for (const place of document.querySelectorAll("[data-equal]")) {
  say(place, `1/${config.class_names.length}`);
}
byId("board").style.aspectRatio = `${columns} / ${rows}`;

new ResizeObserver(() => {
  const frame = stage.getBoundingClientRect();
  const space = byId("cells").getBoundingClientRect();
  view.resize(frame.width, frame.height, space);
  cells.update();
}).observe(stage);

globalThis.torchcaps = {
  data,
  model,
  store,
  board,
  engine,
  samples,
  view,
  readModel,
  primaryCapsules,
  votesOf,
  allVotes,
  route,
  reconstruct,
  evaluate,
  startEngine,
  agreement,
  entropies,
  meanChange,
  fitAsMnist,
  fitWhole,
  inkOf,
};

const first = samples.findIndex(({ kind }) => kind === "right");
if (first >= 0) board.put(sampleBase(samples[first], config, first));
else takeImage();
store.set({ ready: true }); // also an empty page is drawn once
