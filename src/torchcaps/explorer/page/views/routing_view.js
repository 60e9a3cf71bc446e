/**
 * The routing picture. Left, every input capsule as a cell: its size is how awake it is, its colour
 * what it sends to the output capsule shown. Lines run to that output, or, when an input capsule is
 * picked, from it to all outputs.
 */
import { sharpContext } from "../browser/canvas.js";
import { prefersStillness } from "../browser/dom.js";
import { agreementAt } from "../state/measures.js";
import { shownInput, shownMoment, shownOutput } from "../state/selection.js";
import { couplingAt, equalShare } from "../state/timeline.js";
import { layOut } from "./capsule_layout.js";
import { departure, shade } from "./colours.js";
import { decimal } from "./number_format.js";

export const MOST_LINES = 200;
export const MOST_CELLS = 1500; // beyond which only the most awake are drawn
const INK = 40; // sum of strengths beyond which lines are drawn fainter
const FONT = "Inter, system-ui, sans-serif";
const NONE = new Float32Array(0);
const FADE = 260; // milliseconds from one moment to the next

/** `ports()` gives the points where the output capsules begin, in the stage's pixels. */
export function createRoutingView(canvas, store, config, ports) {
  const share = equalShare(config);
  const view = { layout: null, palette: null };
  let size = { width: 0, height: 0 };
  let ends = []; // where the lines go; measured with the layout, not in every frame
  let shown = cells(store.state, share); // what is on the screen: { colour, strength } per cell
  let fade = null;
  let frame = 0;

  view.resize = (width, height, inputs) => {
    size = { width, height };
    const unit = parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
    const { primary_types: types, primary_grid: grid } = config;
    view.layout = layOut(types, grid, inputs.width, inputs.height, unit);
    ends = ports();
    // Nothing is drawn to the right of where the lines end.
    if (ends.length > 0) size.width = Math.ceil(ends[0].x + 2);
    canvas.style.width = `${size.width}px`;
    view.draw();
  };
  view.repaint = (palette) => {
    view.palette = palette;
    view.draw();
  };

  /** Move on to what the state says, gently. */
  view.show = () => {
    const target = cells(store.state, share);
    if (prefersStillness()) {
      shown = target;
      fade = null;
    } else {
      if (shown.colour.length !== target.colour.length) shown = asleep(target);
      fade = { from: shown, to: target, start: performance.now() };
    }
    view.draw();
  };

  view.draw = () => {
    if (frame === 0) frame = requestAnimationFrame(paint);
  };

  function paint(now) {
    frame = 0;
    if (view.layout === null || view.palette === null) return;
    if (fade) {
      const part = Math.min(1, Math.max(0, (now - fade.start) / FADE));
      shown = mixed(fade.from, fade.to, 1 - (1 - part) ** 3);
      if (part === 1) fade = null;
      else view.draw();
    }
    const context = sharpContext(canvas, size.width, size.height);
    context.clearRect(0, 0, size.width, size.height);
    paintScene(context, view, store.state, shown, ends, share);
  }
  return view;
}

/** Colour in [−1, 1] and line strength in [0, 1] of every cell at the state's moment. */
function cells(state, share) {
  const { result, measures } = state;
  if (!result) return { colour: NONE, strength: NONE, size: NONE };
  const { I, J } = measures;
  const moment = shownMoment(state);
  const j = shownOutput(state);
  const coupling = couplingAt(result.trace, moment);
  const agreement = agreementAt(result, measures, moment);
  const most = agreementScale(measures);
  const colour = new Float32Array(I);
  const strength = new Float32Array(I);
  let peak = 1e-9; // the same at every moment, so that growing lines are seen to grow
  for (const round of [null, ...result.trace.coupling]) {
    for (let i = 0; i < I; i++) peak = Math.max(peak, sent(measures, round, i * J + j, share));
  }
  for (let i = 0; i < I; i++) {
    const ij = i * J + j;
    strength[i] = sent(measures, coupling, ij, share) / peak;
    if (state.colourBy === "agreement") colour[i] = agreement ? agreement(ij) / most : 0;
    else colour[i] = coupling ? departure(coupling[ij], share, state.gain) : 0;
  }
  return { colour, strength, size: measures.awake };
}

/** As before anything was seen: the cells wake from this. */
function asleep({ colour }) {
  const none = new Float32Array(colour.length);
  return { colour: none, strength: none, size: none };
}

function sent(measures, coupling, ij, share) {
  return measures.weights[ij] * (coupling ? coupling[ij] : share);
}

/** The largest |û · v| of the image: where the colours of agreement end. */
export function agreementScale(measures) {
  let most = 1e-6;
  for (const value of measures.lastAgreement) most = Math.max(most, Math.abs(value));
  return most;
}

function mixed(from, to, part) {
  const blend = (a, b) => b.map((value, i) => a[i] + (value - a[i]) * part);
  return {
    colour: blend(from.colour, to.colour),
    strength: blend(from.strength, to.strength),
    size: blend(from.size, to.size),
  };
}

function paintScene(context, view, state, shown, ends, share) {
  const { layout, palette } = view;
  const picked = state.result && state.input !== null;
  if (state.result && ends.length > 0) {
    if (picked) paintSending(context, view, state, ends, share);
    else paintVoters(context, view, shown, ends[shownOutput(state)]);
  }
  paintCells(context, layout, palette, shown);
  if (state.result) paintRing(context, layout, palette, shownInput(state), picked);
}

function centreOf(layout, i) {
  const tile = layout.tile(Math.floor(i / (layout.rows * layout.columns)));
  const row = Math.floor(i / layout.columns) % layout.rows;
  return {
    x: tile.x + ((i % layout.columns) + 0.5) * layout.cell,
    y: tile.y + (row + 0.5) * layout.cell,
  };
}

function paintCells(context, layout, palette, shown) {
  const { cell, rows, columns, unit } = layout;
  const pad = cell > 6 ? 1 : cell > 3 ? 0.5 : 0;
  context.font = `${11 * unit}px ${FONT}`;
  context.textAlign = "left";
  context.textBaseline = "alphabetic";
  for (let t = 0; t < layout.types; t++) {
    const tile = layout.tile(t);
    context.fillStyle = palette.empty;
    context.fillRect(tile.x - 1, tile.y - 1, columns * cell + 2, rows * cell + 2);
    if (layout.labels) {
      context.fillStyle = palette.quiet;
      const label = t === 0 && columns * cell > 44 * unit ? `type ${t + 1}` : `${t + 1}`;
      context.fillText(label, tile.x, tile.y - 4 * unit);
    }
  }
  const room = cell - 2 * pad;
  const least = leastDrawn(shown.size);
  for (let i = 0; i < shown.colour.length; i++) {
    if (shown.size[i] < least) continue;
    const { x, y } = centreOf(layout, i);
    const side = room * Math.min(1, 0.16 + 0.84 * shown.size[i]);
    context.fillStyle = shade(palette, shown.colour[i]);
    context.fillRect(x - side / 2, y - side / 2, side, side);
  }
}

/** How awake an input capsule must be to be drawn: of many thousands, the others are left blank. */
export function leastDrawn(awake) {
  if (awake.length <= MOST_CELLS) return 0;
  return Float32Array.from(awake).sort()[awake.length - MOST_CELLS];
}

/** From the capsules that send most to one output: line strength by c, colour as the cell. */
function paintVoters(context, { layout, palette }, shown, end) {
  const { strength, colour } = shown;
  const order = Array.from(strength.keys()).sort((a, b) => strength[b] - strength[a]);
  const shownOnes = order.slice(0, MOST_LINES).filter((i) => strength[i] >= 0.02);
  // Many strong lines are each drawn fainter, or they would hide each other.
  const ink = Math.min(1, INK / shownOnes.reduce((sum, i) => sum + strength[i], 1e-9));
  context.lineCap = "round";
  for (const i of shownOnes.reverse()) {
    context.globalAlpha = (0.06 + 0.7 * strength[i]) * Math.max(0.3, ink);
    context.lineWidth = (0.5 + 2.5 * strength[i]) * layout.unit;
    context.strokeStyle = shade(palette, colour[i]);
    line(context, centreOf(layout, i), end, layout.width);
  }
  context.globalAlpha = 1;
}

/** From one input capsule to every output: line strength c_ij, and the number beside it. */
function paintSending(context, view, state, ends, share) {
  const { layout, palette } = view;
  const { result, measures } = state;
  const i = shownInput(state);
  const coupling = couplingAt(result.trace, shownMoment(state));
  const values = ends.map((_, j) => (coupling ? coupling[i * measures.J + j] : share));
  const most = Math.max(...values);
  context.lineCap = "round";
  for (const [j, end] of ends.entries()) {
    context.globalAlpha = 0.9;
    context.lineWidth = (1 + 7 * (values[j] / Math.max(most, 2 * share))) * layout.unit;
    context.strokeStyle = shade(palette, departure(values[j], share, state.gain));
    line(context, centreOf(layout, i), end, layout.width);
  }
  context.globalAlpha = 1;
  context.font = `600 ${11.5 * layout.unit}px ${FONT}`;
  context.textAlign = "right";
  context.textBaseline = "middle";
  context.lineWidth = 4;
  for (const [j, end] of ends.entries()) {
    const x = end.x - 8 * layout.unit;
    context.strokeStyle = palette.surface;
    context.strokeText(decimal(values[j]), x, end.y);
    context.fillStyle = palette.ink;
    context.fillText(decimal(values[j]), x, end.y);
  }
}

function line(context, from, to, edge) {
  const bend = Math.max(from.x, edge) + (to.x - Math.max(from.x, edge)) * 0.45;
  context.beginPath();
  context.moveTo(from.x, from.y);
  context.bezierCurveTo(bend, from.y, bend, to.y, to.x, to.y);
  context.stroke();
}

function paintRing(context, layout, palette, i, picked) {
  const { x, y } = centreOf(layout, i);
  const half = layout.cell / 2 + 1.5;
  context.lineWidth = picked ? 2.5 : 1.5;
  context.strokeStyle = palette.ink;
  context.setLineDash(picked ? [] : [3, 2]);
  context.strokeRect(x - half, y - half, 2 * half, 2 * half);
  context.setLineDash([]);
}
