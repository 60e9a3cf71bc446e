/** Ways an image gets onto the board: the strip, a file, the clipboard, dropping. */
import { element, say } from "./dom.js";
import { fitAsMnist, fitWhole, inkOf, planes } from "./fit.js";
import { PictureError, readPicture } from "./picture_file.js";
import { showPixels } from "./pixels.js";
import { roving } from "./roving.js";

const GROUPS = [
  ["right", "Read right"],
  ["wrong", "Read wrong"],
  ["overlap", "Two at once"],
];

/** The board's pixels as the network is to see them, or null when the board is empty. */
export function imageOf(board, config, fit) {
  const { width, height } = board.canvas;
  const [rows, columns] = config.image_size;
  if (board.base?.image && !board.hasStrokes) return board.base.image; // a sample goes in as it is
  const bytes = board.context.getImageData(0, 0, width, height).data;
  const source = planes(bytes, config.channels);
  if (fit === "centre" && board.base?.kind !== "sample") {
    const grey = config.channels === 1 ? source : planes(bytes, 1);
    const fitted = fitAsMnist(grey, width, height, columns, rows);
    if (fitted === null || config.channels === 1) return fitted;
    return new Float32Array(config.channels * fitted.length).map(
      (_, k) => fitted[k % fitted.length],
    );
  }
  const image = fitWhole(source, config.channels, width, height, columns, rows);
  return image.some((value) => value > 0.02) ? image : null;
}

/** A sample, one square of the board for each of its pixels. */
export function sampleBase(sample, config, index) {
  const small = document.createElement("canvas");
  showPixels(small, sample.image, config.image_size, config.channels);
  return {
    kind: "sample",
    index,
    image: sample.image,
    paint(context) {
      context.imageSmoothingEnabled = false;
      context.drawImage(small, 0, 0, context.canvas.width, context.canvas.height);
      context.imageSmoothingEnabled = true;
    },
  };
}

/** A picture from outside: whole, or its ink alone where digits are centred. */
function uploadBase(picture, config, fit) {
  return {
    kind: "upload",
    paint(context) {
      const { width, height } = context.canvas;
      // Enlarged in squares, so that a picture of the network's own size stays as it is.
      context.imageSmoothingEnabled = picture.naturalWidth > width;
      context.imageSmoothingQuality = "high";
      context.fillStyle = "#fff"; // what is transparent is paper
      context.fillRect(0, 0, width, height);
      if (fit() !== "centre") {
        context.drawImage(picture, 0, 0, width, height);
        return;
      }
      const scale = Math.min(width / picture.naturalWidth, height / picture.naturalHeight);
      const [w, h] = [picture.naturalWidth, picture.naturalHeight].map((side) =>
        Math.max(1, Math.round(side * scale)),
      );
      const [x, y] = [Math.round((width - w) / 2), Math.round((height - h) / 2)];
      context.drawImage(picture, x, y, w, h);
      const area = context.getImageData(x, y, w, h);
      const ink = inkOf(planes(area.data, 1), w, h);
      context.fillStyle = "#000";
      context.fillRect(0, 0, width, height);
      ink.forEach((value, p) => area.data.fill(Math.round(255 * value), 4 * p, 4 * p + 3));
      context.putImageData(area, x, y);
    },
  };
}

export function createStrip(box, samples, board, config) {
  const buttons = [];
  for (const [kind, title] of GROUPS) {
    const found = samples
      .map((sample, n) => [sample, n])
      .filter(([sample]) => sample.kind === kind);
    if (found.length === 0) continue;
    const row = element("div", { class: "strip-row", role: "toolbar", "aria-label": title });
    for (const [sample, n] of found) {
      const canvas = element("canvas", { "aria-hidden": "true" });
      showPixels(canvas, sample.image, config.image_size, config.channels);
      const words = labelOf(sample, config);
      const button = element(
        "button",
        { type: "button", class: "sample", "aria-label": words, title: words },
        canvas,
      );
      button.addEventListener("click", () => board.put(sampleBase(sample, config, n)));
      row.append(button);
      buttons[n] = button;
    }
    roving(row, "button");
    box.append(element("h3", { class: `strip-${kind}` }, title), row);
  }
  return function mark(index) {
    buttons.forEach((button, n) => button.setAttribute("aria-pressed", String(n === index)));
  };
}

/** What a sample is, by its label. */
export function labelOf(sample, config) {
  const { label, label2 } = sample;
  if (label === null) return "A held-out image without a label";
  if (label2 !== null)
    return `Labels: ${config.class_names[label]} and ${config.class_names[label2]}`;
  return `Label: ${config.class_names[label]}`;
}

/** File, paste and drop; `notice` says in one sentence what was wrong. */
export function createUploads({ file, area, notice }, board, config, fit) {
  async function take(blob) {
    say(notice, "");
    try {
      const picture = await readPicture(blob);
      board.put(uploadBase(picture.image, config, fit));
      say(notice, picture.notice);
    } catch (error) {
      if (!(error instanceof PictureError)) throw error;
      say(notice, error.message);
    }
  }
  file.addEventListener("change", () => {
    if (file.files.length > 0) take(file.files[0]);
    file.value = ""; // the same file may be chosen again
  });
  document.addEventListener("paste", (event) => {
    const found = [...(event.clipboardData?.files ?? [])];
    if (found.length > 0) take(found[0]);
    else if (!event.target.closest("input, textarea"))
      say(notice, "There is no picture on the clipboard.");
  });
  area.addEventListener("dragover", (event) => {
    event.preventDefault();
    area.classList.add("dropping");
  });
  area.addEventListener("dragleave", () => area.classList.remove("dropping"));
  area.addEventListener("drop", (event) => {
    event.preventDefault();
    area.classList.remove("dropping");
    if (event.dataTransfer.files.length > 0) take(event.dataTransfer.files[0]);
    else say(notice, "Nothing to read was dropped: drop a picture file.");
  });
}
