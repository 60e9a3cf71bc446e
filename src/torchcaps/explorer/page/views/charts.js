/** Two small charts of routing as a whole: how much b still moves, how spread out c is. */
import { element, say, svg } from "../browser/dom.js";
import { entropies, meanChange } from "../state/convergence.js";
import { shownMoment } from "../state/selection.js";
import { outputsOf } from "../state/timeline.js";
import { decimal, small } from "./number_format.js";

const [WIDTH, HEIGHT] = [300, 120];
const BOX = { left: 50, right: 12, top: 12, bottom: 26 };
const [WIDE, TALL] = [WIDTH - BOX.left - BOX.right, HEIGHT - BOX.top - BOX.bottom];

export function createCharts({ change, changeWords, entropy, entropyWords }, config) {
  let drawn = null;
  let series = null;

  return function update(state) {
    if (!state.result) {
      drawn = null;
      for (const chart of [change, entropy]) chart.replaceChildren();
      for (const words of [changeWords, entropyWords]) say(words, "Nothing drawn yet.");
      return;
    }
    const { trace } = state.result;
    const most = Math.log(outputsOf(config));
    if (drawn !== state.result) {
      drawn = state.result;
      series = { change: Array.from(meanChange(trace)), entropy: Array.from(entropies(trace)) };
      const rounds = trace.poses.length;
      plot(change, {
        values: series.change,
        rounds,
        scale: logarithmic(series.change),
        write: small,
      });
      plot(entropy, {
        values: series.entropy,
        rounds,
        scale: below(series.entropy, most),
        write: decimal,
      });
    }
    const now = shownMoment(state).iteration;
    point(change, now);
    point(entropy, now);
    say(changeWords, changeInWords(series.change, now));
    const here = now > 0 ? `${decimal(series.entropy[now - 1])} in iteration ${now}; ` : "";
    say(entropyWords, `${here}${decimal(most)} would be equal shares.`);
  };
}

function changeInWords(values, now) {
  if (values.length === 0) return "One iteration alone changes no logit.";
  const k = Math.min(Math.max(now, 1), values.length);
  return `Iteration ${k} moves an average logit by ${small(values[k - 1])}.`;
}

/** A scale maps a value into [0, 1] and has the values to write at its axis. */
function logarithmic(values) {
  const seen = values.filter((value) => value > 0);
  const top = 10 ** Math.ceil(Math.log10(Math.max(...seen, 1e-6)));
  const low = 10 ** Math.floor(Math.log10(Math.min(...seen, top / 10)));
  const span = Math.max(1, Math.log10(top / low));
  return {
    marks: [top, low],
    write: (mark) => String(mark),
    part: (value) => Math.max(0, Math.log10(Math.max(value, low) / low) / span),
  };
}

function below(values, most) {
  const low = Math.min(...values, most * 0.98);
  const foot = Math.max(0, most - (most - low) * 1.25);
  const span = most - foot || 1; // of one class alone every entropy is 0
  return { marks: [most, foot], write: decimal, part: (value) => (value - foot) / span };
}

function plot(chart, { values, rounds, scale, write }) {
  const x = (t) => BOX.left + (rounds === 1 ? WIDE / 2 : (WIDE * (t - 1)) / (rounds - 1));
  const y = (value) => BOX.top + TALL * (1 - scale.part(value));
  const parts = scale.marks.flatMap((mark) => [
    svg("line", { class: "axis", x1: BOX.left, x2: WIDTH - BOX.right, y1: y(mark), y2: y(mark) }),
    svg(
      "text",
      { class: "mark", x: BOX.left - 8, y: y(mark) + 4, "text-anchor": "end" },
      scale.write(mark),
    ),
  ]);
  for (let t = 1; t <= rounds; t++) {
    const place = {
      class: "mark",
      "data-round": t,
      x: x(t),
      y: HEIGHT - 3,
      "text-anchor": "middle",
    };
    parts.push(svg("text", place, String(t)));
    parts.push(
      svg("line", {
        class: "here",
        "data-round": t,
        x1: x(t),
        x2: x(t),
        y1: BOX.top,
        y2: BOX.top + TALL,
      }),
    );
  }
  const path = values.map(
    (value, k) => `${k ? "L" : "M"}${x(k + 1).toFixed(1)} ${y(value).toFixed(1)}`,
  );
  parts.push(svg("path", { class: "curve", d: path.join(" ") || "M0 0" }));
  values.forEach((value, k) => {
    const dot = svg("circle", {
      class: "dot",
      "data-round": k + 1,
      cx: x(k + 1),
      cy: y(value),
      r: 4,
    });
    dot.append(svg("title", {}, `iteration ${k + 1}: ${write(value)}`));
    parts.push(dot);
  });
  chart.replaceChildren(...parts);
  const numbers = values.map((value, k) => `iteration ${k + 1}: ${write(value)}`).join("; ");
  chart.setAttribute("aria-label", `${chart.dataset.title}. ${numbers || "none"}.`);
}

/** Only the marks move while scrubbing. */
function point(chart, now) {
  for (const node of chart.querySelectorAll("[data-round]")) {
    node.classList.toggle("now", Number(node.dataset.round) === now);
  }
}

/** An empty chart for `replaceChildren` to fill. */
export function chartFrame(holder, title) {
  const frame = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "chart" });
  frame.dataset.title = title;
  frame.setAttribute("aria-label", title);
  const words = element("p", { class: "hint" });
  holder.append(frame, words);
  return { frame, words };
}
