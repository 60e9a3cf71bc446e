/** Images of the network on canvases, pixel by pixel. */

const MOST_PIXELS = 2e6; // of a canvas that is painted anew in every frame

/** Draw [channels × height × width] in [0, 1] at one canvas pixel each; CSS scales it up. */
export function showPixels(canvas, image, [height, width], channels) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(width, height);
  const size = width * height;
  for (let p = 0; p < size; p++) {
    for (let c = 0; c < 3; c++) {
      const value = image === null ? 0 : image[(channels === 1 ? 0 : c) * size + p];
      pixels.data[4 * p + c] = Math.round(255 * value);
    }
    pixels.data[4 * p + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
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
