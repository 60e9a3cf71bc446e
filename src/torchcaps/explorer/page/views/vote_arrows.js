/** All votes for the class shown, as arrows in a plane, and over them the capsule's own pose. */
import { sharpContext } from "../browser/canvas.js";
import { say } from "../browser/dom.js";
import { agreementAt } from "../state/measures.js";
import { shownInput, shownMoment, shownOutput } from "../state/selection.js";
import { couplingAt, equalShare, posesAt } from "../state/timeline.js";
import { inPlane, unanimity, votePlane } from "../state/vote_plane.js";
import { colour } from "./colours.js";

const MOST = 400; // arrows; of more votes the longest are drawn

export function createVoteArrows({ canvas, words, note }, model, config) {
  let drawn = null; // { result, j } of the plane at hand
  let plane = null;
  let scene = null;
  const repaint = () => {
    if (scene !== null) paint(canvas, plane, scene);
  };
  new ResizeObserver(repaint).observe(canvas.parentElement);

  function choosePlane(state, j) {
    if (drawn !== null && drawn.result === state.result && drawn.j === j) return;
    drawn = { result: state.result, j };
    const { trace, primary } = state.result;
    const { D, J } = model;
    const pose = trace.poses.at(-1).subarray(j * D, (j + 1) * D);
    plane = votePlane(model, primary, pose, j);
    const ends = Array.from({ length: model.I }, (_, i) => inPlane(plane.axes, plane.votes, i * D));
    const order = Array.from(ends.keys()).sort((a, b) => long(ends[a]) - long(ends[b]));
    let peak = 0; // of c, at every moment, so that what fades is seen to fade
    for (const c of trace.coupling) {
      for (let i = 0; i < model.I; i++) peak = Math.max(peak, c[i * J + j]);
    }
    // As far as the longest arrow of all moments, and the circle of length 1.
    const poses = trace.poses.map((v) => long(inPlane(plane.axes, v, j * D)));
    const longestVote = long(ends[order.at(-1)]);
    const reach = {
      dynamic: Math.max(1, longestVote, ...poses),
      attention: Math.max(longestVote, 1e-6), // poses are normalised: their size means nothing
      em: Math.max(longestVote, ...poses, 1e-6),
    }[config.routing.name];
    plane = { ...plane, ends, order: order.slice(-MOST), peak, reach };
  }

  function update(state) {
    canvas.hidden = !state.result;
    scene = null;
    if (!state.result) {
      say(words, "Draw, or choose an image, and its votes appear here.");
      say(note, "");
      return;
    }
    const j = shownOutput(state);
    choosePlane(state, j);
    scene = sceneOf(state, model, config, j);
    repaint();
    const name = config.class_names[j];
    const told = inWords(shownMoment(state).iteration, model, plane, scene, name);
    say(words, told);
    canvas.setAttribute("aria-label", `The votes for ${name} as arrows in a plane. ${told}`);
    const few = model.I > MOST ? ` The longest ${MOST} of ${model.I} are drawn.` : "";
    const held = Math.round(100 * plane.held);
    say(
      note,
      `The plane of the two directions in which these votes are largest (their principal components, without shares and without centring). It holds ${held} % of their squared lengths.${few}`,
    );
  }
  return { update, repaint };
}

/** What is to be painted at the moment shown: share and agreement of each vote, the pose. */
function sceneOf(state, model, config, j) {
  const { trace } = state.result;
  const { J, D } = model;
  const moment = shownMoment(state);
  const coupling = couplingAt(trace, moment);
  const agreement = agreementAt(state.result, state.measures, moment);
  const poses = posesAt(trace, moment);
  return {
    share: (i) => (coupling ? coupling[i * J + j] : equalShare(config)),
    agrees: (i) => (agreement ? Math.sign(agreement(i * J + j)) : 0),
    pose: poses ? poses.subarray(j * D, (j + 1) * D) : null,
    picked: shownInput(state),
  };
}

function inWords(iteration, model, plane, { share, agrees }, name) {
  const routing = model.config.routing.name;
  if (iteration === 0) return `Before routing, every vote for ${name} counts as much as any other.`;
  if (routing === "em") {
    return `In iteration ${iteration}, the pose of ${name} is the mean of its votes, each weighing its share times the length of its capsule.`;
  }
  const percent = Math.round(100 * unanimity(plane.votes, model.D, share));
  const all = Array.from({ length: model.I }, (_, i) => agrees(i));
  const whole = `Added up with their shares, the votes keep ${percent} % of their length: 100 % would be one direction for all.`;
  if (all.every((sign) => sign === 0)) return whole;
  const agreeing = all.filter((sign) => sign > 0).length;
  return `In iteration ${iteration}, ${agreeing} of ${model.I} votes agree with ${name}. ${whole}`;
}

function paint(canvas, { ends, order, axes, peak, reach }, scene) {
  const side = canvas.clientWidth;
  if (side === 0) return;
  const context = sharpContext(canvas, side, side);
  const ink = Object.fromEntries(
    ["ink", "line", "strong-line", "less", "quiet", "more", "pose", "surface"].map((name) => [
      name,
      `rgb(${colour(`--${name}`).join(" ")})`,
    ]),
  );
  const scale = (side / 2 - 8) / reach;
  const at = ([x, y]) => [side / 2 + scale * x, side / 2 - scale * y];
  context.clearRect(0, 0, side, side);
  context.strokeStyle = ink.line;
  context.lineWidth = 1;
  for (const [from, to] of [
    [
      [-reach, 0],
      [reach, 0],
    ],
    [
      [0, -reach],
      [0, reach],
    ],
  ]) {
    stroke(context, at(from), at(to));
  }
  context.strokeStyle = ink["strong-line"];
  context.setLineDash([4, 4]);
  context.beginPath();
  context.arc(side / 2, side / 2, scale, 0, 2 * Math.PI);
  context.stroke();
  context.setLineDash([]);
  const arrow = (end, paintedIn, width) => {
    context.strokeStyle = context.fillStyle = paintedIn;
    context.lineWidth = width;
    stroke(context, at([0, 0]), at(end));
    head(context, at(end), Math.atan2(-end[1], end[0]), Math.min(3 * width + 2, scale * long(end)));
  };
  const shades = { "-1": ink.less, 0: ink.quiet, 1: ink.more };
  for (const i of order) {
    context.globalAlpha = Math.min(1, 0.04 + (0.96 * scene.share(i)) / peak);
    arrow(ends[i], shades[scene.agrees(i)], 1.2);
  }
  context.globalAlpha = 1;
  arrow(ends[scene.picked], ink.ink, 2);
  if (scene.pose) {
    const whole = inPlane(axes, scene.pose);
    const pose = whole.map((x) => x * Math.min(1, reach / long(whole)));
    arrow(pose, ink.surface, 7);
    arrow(pose, ink.pose, 4.5);
  }
}

function stroke(context, from, to) {
  context.beginPath();
  context.moveTo(...from);
  context.lineTo(...to);
  context.stroke();
}

function head(context, [x, y], turn, size) {
  context.beginPath();
  context.moveTo(x + 0.3 * size * Math.cos(turn), y + 0.3 * size * Math.sin(turn));
  for (const side of [2.6, -2.6]) {
    context.lineTo(x + size * Math.cos(turn + side), y + size * Math.sin(turn + side));
  }
  context.fill();
}

function long([x, y]) {
  return Math.hypot(x, y);
}
