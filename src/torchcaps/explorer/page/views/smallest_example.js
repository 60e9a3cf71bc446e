/**
 * The smallest example: three input capsules vote for two output capsules, in a plane. Each vote is
 * an arrow that can be dragged; the same `route` as above answers.
 */
import { element, say, svg } from "../browser/dom.js";
import { clamp } from "../engine/math.js";
import { route } from "../engine/route.js";
import { decimal } from "./number_format.js";

const [INPUTS, OUTPUTS] = [3, 2];
const NAMES = ["a", "b", "c"];
const REACH = 1.25; // the plane runs from −REACH to REACH
const TURN = 5; // degrees, with the keys

// Angle in degrees and length of the vote of each input (row) for each output (column).
const SCENES = {
  "a opposes 1, agrees with 2": [
    [200, 0.9, 60, 0.9],
    [35, 1, 75, 0.8],
    [10, 0.9, 40, 1],
  ],
  "all agree with 1": [
    [50, 1, 30, 0.9],
    [42, 0.9, 160, 0.9],
    [58, 1, 280, 0.9],
  ],
  "nobody agrees": [
    [90, 0.9, 30, 0.9],
    [210, 0.9, 150, 0.9],
    [330, 0.9, 270, 0.9],
  ],
};

export function createSmallestExample({ planes, table, scenes, rounds, words }) {
  let votes = read(Object.values(SCENES)[0]);
  const views = Array.from({ length: OUTPUTS }, (_, j) => createPlane(j));
  planes.append(...views.map(({ figure }) => figure));
  for (const [name, scene] of Object.entries(SCENES)) {
    const button = element("button", { type: "button" }, name);
    button.addEventListener("click", () => {
      votes = read(scene);
      draw();
    });
    scenes.append(button);
  }
  rounds.addEventListener("input", draw);

  /** One output capsule's plane: its pose, and an arrow to drag for each vote. */
  function createPlane(j) {
    const drawing = svg("svg", {
      viewBox: `${-REACH} ${-REACH} ${2 * REACH} ${2 * REACH}`,
      class: "plane",
    });
    drawing.append(
      svg("circle", { class: "unit", r: 1 }),
      svg("line", { class: "axis", x1: -REACH, x2: REACH }),
      svg("line", { class: "axis", y1: -REACH, y2: REACH }),
    );
    const pose = arrow("pose");
    drawing.append(pose.node);
    const handles = NAMES.map((name, i) => createHandle(drawing, name, i, j));
    const label = element("span");
    const figure = element(
      "figure",
      {},
      drawing,
      element("figcaption", {}, `Output capsule ${j + 1} `, label),
    );
    return { figure, pose, handles, label };
  }

  function createHandle(drawing, name, i, j) {
    const shape = arrow(`vote vote-${name}`);
    const grip = svg("circle", { class: `grip vote-${name}`, r: 0.09 });
    const reach = svg("circle", { class: "reach", r: 0.2 }); // what a finger may miss the grip by
    const letter = svg(
      "text",
      { class: "letter", "text-anchor": "middle", "aria-hidden": "true" },
      name,
    );
    const handle = svg(
      "g",
      {
        class: "handle",
        tabindex: "0",
        role: "slider",
        "aria-label": `Vote of input ${name} for output ${j + 1}, direction in degrees`,
        "aria-valuemin": 0,
        "aria-valuemax": 359,
      },
      shape.node,
      reach,
      grip,
      letter,
    );
    drawing.append(handle);
    const move = (x, y) => {
      const length = Math.hypot(x, y);
      const cut = Math.min(1, 1.15 / Math.max(length, 1e-6));
      votes.set([x * cut, y * cut], 2 * (i * OUTPUTS + j));
      draw();
    };
    handle.addEventListener("pointerdown", (event) => {
      handle.setPointerCapture(event.pointerId);
      handle.focus();
      event.preventDefault();
    });
    handle.addEventListener("pointermove", (event) => {
      if (!handle.hasPointerCapture(event.pointerId)) return;
      const frame = drawing.getBoundingClientRect();
      const scale = (2 * REACH) / frame.width;
      move(
        (event.clientX - frame.left) * scale - REACH,
        REACH - (event.clientY - frame.top) * scale,
      );
    });
    handle.addEventListener("keydown", (event) => {
      const [angle, length] = polar(votes, i, j);
      const turn = { ArrowLeft: TURN, ArrowRight: -TURN }[event.key] ?? 0;
      const grow = { ArrowUp: 0.05, ArrowDown: -0.05 }[event.key] ?? 0;
      if (turn === 0 && grow === 0) return;
      event.preventDefault();
      const [to, size] = [((angle + turn) * Math.PI) / 180, clamp(length + grow, 0.05, 1.15)];
      move(size * Math.cos(to), size * Math.sin(to));
    });
    return { handle, shape, reach, grip, letter };
  }

  function draw() {
    const iterations = Number(rounds.value);
    const trace = route(
      { values: votes, I: INPUTS, J: OUTPUTS, D: 2 },
      { name: "dynamic", iterations, leaky: false },
    );
    const v = trace.poses[iterations - 1];
    views.forEach((view, j) => {
      view.pose.point(v[2 * j], v[2 * j + 1]);
      say(view.label, `|v| = ${decimal(Math.hypot(v[2 * j], v[2 * j + 1]), 2)}`);
      view.handles.forEach(({ handle, shape, reach, grip, letter }, i) => {
        const [x, y] = votes.subarray(2 * (i * OUTPUTS + j), 2 * (i * OUTPUTS + j) + 2);
        shape.point(x, y);
        for (const [node, dy] of [
          [reach, 0],
          [grip, 0],
          [letter, 0.045],
        ]) {
          node.setAttribute("transform", `translate(${x.toFixed(3)} ${(-y + dy).toFixed(3)})`);
        }
        const [angle, length] = polar(votes, i, j);
        handle.setAttribute("aria-valuenow", Math.round(angle));
        handle.setAttribute(
          "aria-valuetext",
          `${Math.round(angle)} degrees, length ${decimal(length, 2)}`,
        );
      });
    });
    fillTable(table, trace, iterations);
    const c = trace.coupling[iterations - 1];
    const target = c[0] < c[1] ? 2 : 1;
    say(
      words,
      iterations === 1
        ? "In the first iteration every coupling is 0.500: maximum confusion."
        : `In iteration ${iterations}, a sends ${decimal(c[0])} to output 1 and ${decimal(c[1])} to output 2: ` +
            (Math.abs(c[0] - c[1]) < 0.01
              ? "it cannot tell them apart."
              : `it agrees more with ${target}.`),
    );
  }
  draw();
}

function arrow(kind) {
  const line = svg("line", { class: kind });
  const head = svg("path", { class: `${kind} head`, d: "M0.06 0L-0.13 0.12L-0.13 -0.12Z" });
  return {
    node: svg("g", {}, line, head),
    point(x, y) {
      line.setAttribute("x2", x.toFixed(3));
      line.setAttribute("y2", (-y).toFixed(3));
      const turn = (Math.atan2(-y, x) * 180) / Math.PI;
      const size = Math.min(1, Math.hypot(x, y) / 0.3); // a short arrow has a small head
      const place = `translate(${x.toFixed(3)} ${(-y).toFixed(3)})`;
      head.setAttribute(
        "transform",
        `${place} rotate(${turn.toFixed(1)}) scale(${size.toFixed(2)})`,
      );
      line.style.strokeWidth = size < 1 ? 0.085 * size : "";
    },
  };
}

function read(scene) {
  const votes = new Float32Array(INPUTS * OUTPUTS * 2);
  scene.forEach((row, i) => {
    for (let j = 0; j < OUTPUTS; j++) {
      const angle = (row[2 * j] * Math.PI) / 180;
      const length = row[2 * j + 1];
      votes.set([length * Math.cos(angle), length * Math.sin(angle)], 2 * (i * OUTPUTS + j));
    }
  });
  return votes;
}

function polar(votes, i, j) {
  const [x, y] = votes.subarray(2 * (i * OUTPUTS + j), 2 * (i * OUTPUTS + j) + 2);
  return [((Math.atan2(y, x) * 180) / Math.PI + 360) % 360, Math.hypot(x, y)];
}

/** c_i1 and c_i2 of every input, iteration by iteration, as divided cells. */
function fillTable(table, trace, iterations) {
  const head = element("tr", {}, element("th", { scope: "col" }, "c to 1 | 2"));
  for (let t = 1; t <= iterations; t++) head.append(element("th", { scope: "col" }, String(t)));
  const rows = NAMES.map((name, i) => {
    const letter = element("span", { class: `chip vote-${name}` }, name);
    const row = element("tr", {}, element("th", { scope: "row" }, letter));
    for (let t = 0; t < iterations; t++) {
      const [first, second] = trace.coupling[t].subarray(2 * i, 2 * i + 2);
      const cell = element(
        "td",
        { class: "share" },
        `${decimal(first, 2)} | ${decimal(second, 2)}`,
      );
      cell.style.setProperty("--first", `${(100 * first).toFixed(1)}%`);
      row.append(cell);
    }
    return row;
  });
  table.replaceChildren(
    element("caption", { class: "unseen" }, "Coupling of each input capsule by iteration"),
    element("thead", {}, head),
    element("tbody", {}, ...rows),
  );
}
