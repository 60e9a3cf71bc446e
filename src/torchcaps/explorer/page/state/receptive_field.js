/** Which pixels an input capsule sees: those that lead to it through the convolutions before it. */

/** `{left, top, size}`, a square; where the layers pad, it may reach over the image's edge. */
export function receptiveField({ stem, primary, primary_grid: [rows, columns] }, i) {
  let size = 1;
  let pitch = 1; // pixels from one place to the next
  let start = 0; // where the field of the first place begins
  for (const { kernel, stride, padding } of [...stem, primary]) {
    size += (kernel - 1) * pitch;
    start -= padding * pitch;
    pitch *= stride;
  }
  const row = Math.floor(i / columns) % rows;
  return { left: start + pitch * (i % columns), top: start + pitch * row, size };
}

/** These pixels of an image [channels × height × width], as an image of its own, 0 beyond the edge. */
export function patchOf(image, { left, top, size }, { channels, image_size: [rows, columns] }) {
  const patch = new Float32Array(channels * size * size);
  for (let k = 0; k < patch.length; k++) {
    const [x, y] = [left + (k % size), top + (Math.floor(k / size) % size)];
    if (x < 0 || y < 0 || x >= columns || y >= rows) continue;
    patch[k] = image[(Math.floor(k / (size * size)) * rows + y) * columns + x];
  }
  return patch;
}
