/** Images of the network on canvases, pixel by pixel. */

const VEIL = 0.32; // how far black is lifted, and white lowered, outside what is in the light
const MOST_PIXELS = 2e6; // of a canvas that is painted anew in every frame

/**
 * Draw [channels × height × width] in [0, 1] at one canvas pixel each; CSS scales it up. Of a square
 * `{ left, top, size }` in the light, all around it is veiled.
 */
export function showPixels(canvas, image, [height, width], channels, light = null) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(width, height);
  const size = width * height;
  for (let p = 0; p < size; p++) {
    const veiled = light !== null && !within(light, p % width, Math.floor(p / width));
    for (let c = 0; c < 3; c++) {
      const value = image === null ? 0 : image[(channels === 1 ? 0 : c) * size + p];
      pixels.data[4 * p + c] = Math.round(255 * (veiled ? VEIL + (1 - 2 * VEIL) * value : value));
    }
    pixels.data[4 * p + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
}

function within({ left, top, size }, x, y) {
  return x >= left && x < left + size && y >= top && y < top + size;
}

/** A canvas's 2-D context at the screen's own resolution, drawing in CSS pixels. */
export function sharpContext(canvas, width, height) {
  const ratio = Math.min(
    window.devicePixelRatio || 1,
    2,
    Math.sqrt(MOST_PIXELS / (width * height)),
  );
  const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}
