/** Pictures from outside that get onto the board: a file, the clipboard, dropping. */
import { say } from "../browser/dom.js";
import { PictureError, readPicture } from "./picture_file.js";
import { inkOf, planes } from "./preprocess.js";

/** A picture from outside: whole, or its ink alone where digits are centred. */
function uploadBase(picture, fit) {
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
      for (const [p, value] of ink.entries()) {
        area.data.fill(Math.round(255 * value), 4 * p, 4 * p + 3);
      }
      context.putImageData(area, x, y);
    },
  };
}

/** File, paste and drop; `notice` says in one sentence what was wrong. */
export function createUploads({ file, area, notice }, board, fit) {
  async function take(blob) {
    say(notice, "");
    try {
      const picture = await readPicture(blob);
      board.put(uploadBase(picture.image, fit));
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
