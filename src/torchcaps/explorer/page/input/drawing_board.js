/**
 * The board to draw on: mouse, pen, touch and keys. Its pixels are the truth: whatever is on it when
 * "painted" is told is what the network gets to see.
 */
import { element, say } from "../browser/dom.js";
import { clamp } from "../engine/math.js";

const ACROSS = 448; // pixels of the board, about
const BRUSH = 0.072; // of the shorter side: two pixels of 28
const STEP = 1 / 28; // of the side, for the arrow keys

/** `drawn`: whether one draws on it; a board of photos only shows them. */
export function createBoard(canvas, config, onPaint, drawn = true) {
  const [rows, columns] = config.image_size;
  const scale = Math.max(1, Math.round(ACROSS / Math.max(rows, columns)));
  canvas.width = columns * scale;
  canvas.height = rows * scale;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  // What lies under the strokes: null, or { paint(context), exact } (see `put`).
  let drawing = { base: null, strokes: [] };
  const history = [];
  let ink = "#ffffff";

  function repaint() {
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
    drawing.base?.paint(context);
    for (const stroke of drawing.strokes) paintStroke(context, stroke);
  }

  function change(next) {
    history.push(drawing);
    if (history.length > 200) history.shift();
    drawing = next;
    repaint();
    onPaint();
  }

  const board = {
    canvas,
    context,
    /** "sample", "upload" or null: what lies under the strokes. */
    get base() {
      return drawing.base;
    },
    get hasStrokes() {
      return drawing.strokes.length > 0;
    },
    /** Replace everything by a picture: `{ kind, paint(context) }`. */
    put(base) {
      change({ base, strokes: [] });
    },
    clear() {
      if (drawing.base || drawing.strokes.length) change({ base: null, strokes: [] });
    },
    undo() {
      if (history.length === 0) return;
      drawing = history.pop();
      repaint();
      onPaint();
    },
    get canUndo() {
      return history.length > 0;
    },
    repaint,
    setInk(colour) {
      ink = colour;
    },
    begin(point) {
      const stroke = { points: [point], width: BRUSH * Math.min(canvas.width, canvas.height), ink };
      change({ base: drawing.base, strokes: [...drawing.strokes, stroke] });
      return stroke;
    },
    extend(stroke, points) {
      stroke.points.push(...points);
      repaint();
      onPaint();
    },
  };
  if (drawn) {
    byPointer(canvas, board);
    byKeys(canvas, board);
  } else {
    onlyShown(canvas);
  }
  canvas.addEventListener("painted", onPaint);
  repaint();
  return board;
}

function paintStroke(context, { points, width, ink }) {
  context.strokeStyle = ink;
  context.lineWidth = width;
  context.lineCap = "round";
  context.lineJoin = "round";
  context.beginPath();
  context.moveTo(points[0].x, points[0].y);
  // Through the middles, with the points as handles: a smooth line from few events.
  for (let k = 1; k < points.length - 1; k++) {
    const [here, next] = [points[k], points[k + 1]];
    context.quadraticCurveTo(here.x, here.y, (here.x + next.x) / 2, (here.y + next.y) / 2);
  }
  const end = points[points.length - 1];
  context.lineTo(end.x + 0.01, end.y);
  context.stroke();
}

function onlyShown(canvas) {
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "The image");
  for (const name of ["tabindex", "aria-roledescription"]) canvas.removeAttribute(name);
  canvas.style.cursor = "default";
  canvas.style.touchAction = "auto";
}

function byPointer(canvas, board) {
  let stroke = null;
  const place = (event) => {
    const frame = canvas.getBoundingClientRect();
    return {
      x: ((event.clientX - frame.left) / frame.width) * canvas.width,
      y: ((event.clientY - frame.top) / frame.height) * canvas.height,
    };
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (!event.isPrimary || event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    stroke = board.begin(place(event));
    event.preventDefault(); // no selection of the page's text while drawing
    canvas.focus({ preventScroll: true });
  });
  canvas.addEventListener("pointermove", (event) => {
    if (stroke === null || !event.isPrimary) return;
    const events = event.getCoalescedEvents?.() ?? [];
    board.extend(stroke, (events.length ? events : [event]).map(place));
  });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
    canvas.addEventListener(name, () => {
      stroke = null;
    });
  }
}

/** Arrow keys move a pen, the space bar puts it down and lifts it. */
function byKeys(canvas, board) {
  const pen = element("span", { class: "pen", hidden: true });
  const words = element("span", { class: "unseen", role: "status" });
  canvas.after(pen, words);
  const place = { x: 0.5, y: 0.3 };
  let stroke = null;
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const point = () => ({ x: place.x * canvas.width, y: place.y * canvas.height });
  const show = () => {
    pen.style.left = `${100 * place.x}%`;
    pen.style.top = `${100 * place.y}%`;
    pen.classList.toggle("down", stroke !== null);
  };
  canvas.addEventListener("focus", () => {
    pen.hidden = !canvas.matches(":focus-visible");
    show();
  });
  canvas.addEventListener("blur", () => {
    pen.hidden = true;
    stroke = null;
  });
  canvas.addEventListener("pointerdown", () => {
    pen.hidden = true;
  });
  canvas.addEventListener("keydown", (event) => {
    if (event.key === " ") {
      stroke = stroke === null ? board.begin(point()) : null;
      say(words, stroke ? "Pen down" : "Pen up");
    } else if (event.key in moves) {
      const [x, y] = moves[event.key];
      place.x = clamp(place.x + x * STEP, 0.02, 0.98);
      place.y = clamp(place.y + y * STEP, 0.02, 0.98);
      if (stroke) board.extend(stroke, [point()]);
    } else {
      return;
    }
    event.preventDefault();
    pen.hidden = false;
    show();
  });
}
