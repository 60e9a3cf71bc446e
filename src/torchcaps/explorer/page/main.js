/** The page: what it holds, and who hears of what. */
import { byId, prefersStillness, say } from "./browser/dom.js";
import { createTheme } from "./browser/theme.js";
import { whenVisible } from "./browser/when_visible.js";
import { agreement } from "./engine/math.js";
import {
  allVotes,
  evaluate,
  primaryCapsules,
  readModel,
  reconstruct,
  votesOf,
} from "./engine/network.js";
import { route } from "./engine/route.js";
import { startEngine } from "./engine/worker_client.js";
import { createBoard } from "./input/drawing_board.js";
import { fitAsMnist, fitWhole, imageOf, inkOf } from "./input/preprocess.js";
import { createStrip, labelOf, readSamples, sampleBase } from "./input/samples.js";
import { createUploads } from "./input/uploads.js";
import { addressOf, networkOf, readAddress } from "./state/address.js";
import { entropies, meanChange } from "./state/convergence.js";
import { createExcitation } from "./state/excitation.js";
import { measure } from "./state/measures.js";
import { createStore } from "./state/store.js";
import { lastStep, openingIterations } from "./state/timeline.js";
import { createCapsulePixels } from "./views/capsule_pixels.js";
import { chartFrame, createCharts } from "./views/charts.js";
import { departure, readPalette } from "./views/colours.js";
import { createComparison } from "./views/comparison.js";
import { createGlossary } from "./views/glossary.js";
import { createHeadline, newsOf } from "./views/headline.js";
import { createInputCapsulePicker } from "./views/input_capsule_picker.js";
import { createLegend } from "./views/legend.js";
import { createOutputCapsules } from "./views/output_capsules.js";
import { createPair } from "./views/pair.js";
import { createPlayback } from "./views/playback.js";
import { createPreview } from "./views/preview.js";
import { createProcedure } from "./views/procedure.js";
import { createReconstruction } from "./views/reconstruction.js";
import { createRoutingView, leastDrawn } from "./views/routing_view.js";
import { keepPartsOf } from "./views/routing_words.js";
import { createSmallestExample } from "./views/smallest_example.js";
import { createStrongestCouplings } from "./views/strongest_couplings.js";
import { saySubject } from "./views/subject.js";
import { createTour } from "./views/tour.js";

const SETTLED = 700; // milliseconds after which a screen reader hears the news
const PASSING = new Set(["hovered", "excited"]); // of which there is no news

const networks = JSON.parse(byId("torchcaps-data").textContent);
const named = () => networkOf(networks, location.hash.slice(1));
const data = named();
const { config, subject } = data;
const label = (sample) => labelOf(sample, config);
const photos = subject === "photos"; // which nobody draws
const model = readModel(data);
const engine = startEngine(data);
const iterations = openingIterations(config);

const store = createStore({
  image: null, // what the network sees
  source: null, // index of the sample that it is, or null
  result: null,
  measures: null,
  reconstruction: null,
  iterations,
  step: lastStep(iterations),
  playing: false,
  input: null, // the input capsule picked, or null
  output: null, // the output capsule picked, or null: the longest
  hovered: null, // the input capsule pointed at, or null
  excited: false, // whether it is known what excites the input capsules
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
let fit = config.channels === 1 && !photos ? "centre" : "whole";
const board = createBoard(byId("board"), config, takeImage, !photos);
const outputs = createOutputCapsules(byId("outputs"), store, config);
const stage = byId("stage");
const view = createRoutingView(byId("picture"), store, config, () => outputs.ports(stage));
const most = createExcitation(engine, samples, model.P, () => store.set({ excited: true }));
const cells = createInputCapsulePicker(
  stage,
  byId("cells"),
  { box: byId("tip"), words: byId("tip-words") },
  store,
  view,
  config,
  createCapsulePixels(byId("tip-patches"), most, config),
);
const pair = createPair(
  {
    pixels: byId("pair-pixels"),
    names: parts("pair-capsule", "pair-class"),
    matrix: parts("matrix-table", "matrix-caption", "matrix-words"),
    arrows: { canvas: byId("arrows"), ...parts("arrows-words", "arrows-note") },
  },
  model,
  config,
  most,
);
const playback = createPlayback(
  parts("play", "scrubber", "ticks", "moment-words", "rounds", "back", "on", "rewind", "forward"),
  store,
);
const change = chartFrame(byId("change"), "Mean change of the logits, by iteration");
const entropy = chartFrame(byId("entropy"), "Mean entropy of the couplings, by iteration");
const updates = [
  createHeadline(parts("verdict", "answer", "truth", "trouble"), samples, label, config, subject),
  createPreview(byId("preview"), config),
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
  createStrongestCouplings(
    { heading: byId("voters-heading"), list: byId("voters") },
    store,
    config,
  ),
  whenVisible(
    byId("compare"),
    createComparison(parts("compare-table", "compare-words", "compare-rounds"), config),
  ),
  whenVisible(byId("pair"), pair.update),
  whenVisible(
    byId("steps"),
    createProcedure(
      parts("lines", "numbers-table", "numbers-caption", "sentence", "vectors"),
      model,
      store,
      config,
    ),
  ),
  whenVisible(
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
      misfit: byId("misfit"),
    },
    engine,
    store,
    config,
    data.decoder_left_out,
  ),
];
const markSample = createStrip(byId("strip"), samples, board, config);

// The page opens playing, with the first image; whoever takes another wants its answer.
let opening = false;

function stopPlaying() {
  opening = false;
  playback.stop();
}

function endOpening() {
  if (!opening) return;
  stopPlaying();
  store.set({ step: lastStep(store.state.iterations) });
}

/** The board has changed: fit it, evaluate it, show it. */
async function takeImage() {
  if (store.state.image !== null) endOpening();
  const image = imageOf(board, config, fit);
  const source = board.base?.index !== undefined && !board.hasStrokes ? board.base.index : null;
  store.set({ image, source });
  byId("undo").disabled = !board.canUndo;
  if (image === null) store.set({ result: null, measures: null, input: null });
  else await evaluateImage(image);
}

async function evaluateImage(image) {
  const rounds = store.state.iterations;
  store.set({ waiting: store.state.waiting + 1 });
  try {
    const result = await engine.evaluate(image, rounds);
    // null: a newer image has taken its place. Or it came too late: cleared, or other iterations.
    if (result === null || store.state.image === null || rounds !== store.state.iterations) return;
    store.set({ result, measures: measure(model, result), trouble: "" });
  } catch (error) {
    store.set({ trouble: `The network could not be evaluated: ${error.message}` });
  } finally {
    store.set({ waiting: store.state.waiting - 1 });
  }
}

let settled = 0;
store.onChange((state, changed) => {
  if (opening && changed.has("result") && state.result) playback.start();
  if (opening && changed.has("playing") && !state.playing) opening = false;
  if (changed.has("iterations") && state.image) evaluateImage(state.image);
  byId("board-hint").hidden = state.image !== null || board.hasStrokes;
  if (changed.has("source")) markSample(state.source);
  if (["result", "step", "input", "output", "colourBy", "gain"].some((key) => changed.has(key))) {
    view.show();
  }
  for (const update of updates) update(state, changed);
  cells.update(changed);
  if ([...changed].every((key) => PASSING.has(key))) return;
  clearTimeout(settled);
  settled = setTimeout(() => {
    say(byId("news"), newsOf(state, config));
    if (!state.playing) history.replaceState(null, "", `#${addressOf(state, config)}`);
  }, SETTLED);
});

document.addEventListener("keydown", (event) => {
  const inUse = event.defaultPrevented || !byId("term-tip").hidden;
  if (event.key !== "Escape" || inUse || event.target.closest("input, select, textarea")) return;
  store.set(store.state.input === null ? { output: null } : { input: null });
});
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
byId("network-label").hidden = !networks.pairs;
byId("network").value = config.network ?? "";
byId("network").addEventListener("change", () => {
  clearTimeout(settled); // which would write the address of this one
  location.hash = addressOf(store.state, { ...config, network: byId("network").value });
});
byId("ink-label").hidden = config.channels === 1 || photos;
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
  () => fit,
);
createGlossary(config.routing.name);
createTour(byId("tour-begin"), store, stopPlaying, config.routing.name);
createSmallestExample({
  planes: byId("planes"),
  table: byId("shares"),
  scenes: byId("scenes"),
  rounds: byId("two-rounds"),
  words: byId("two-words"),
});
createTheme(byId("theme"), () => {
  view.repaint(readPalette());
  pair.repaint();
});

const [rows, columns] = config.image_size;
saySubject(subject);
keepPartsOf(config.routing.name);
say(byId("title"), data.title);
for (const place of document.querySelectorAll("[data-size]")) say(place, `${columns} × ${rows}`);
for (const place of document.querySelectorAll("[data-equal]")) {
  say(place, `1/${config.class_names.length}`);
}
byId("board").style.aspectRatio = `${columns} / ${rows}`;

function measureStage() {
  const frame = stage.getBoundingClientRect();
  const space = byId("cells").getBoundingClientRect();
  view.resize(frame.width, frame.height, space);
  cells.update();
}
new ResizeObserver(measureStage).observe(stage);
byId("outputs").addEventListener("scroll", measureStage); // of many classes: the lines follow

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
  leastDrawn,
  departure,
};

/** Show what the address says, if it says something. */
function readTheAddress() {
  const told = readAddress(location.hash.slice(1), config, samples.length);
  if (told === null) return false;
  stopPlaying();
  store.set(told.state);
  const sample = told.sample === null ? { image: told.image } : samples[told.sample];
  board.put(sampleBase(sample, config, told.sample ?? undefined));
  return true;
}
addEventListener("hashchange", () => {
  if (named() === data) readTheAddress();
  else location.reload(); // as the other network's page
});

const first = samples.findIndex(({ kind }) => kind === "right");
if (!readTheAddress()) {
  opening = first >= 0 && !prefersStillness();
  if (opening) store.set({ step: 0 });
  if (first >= 0) board.put(sampleBase(samples[first], config, first));
  else takeImage();
}
store.set({ ready: true }); // also an empty page is drawn once
