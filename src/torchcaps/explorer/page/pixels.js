/** Images of the network on canvases, pixel by pixel. */

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

/** The strip's images: base64 of bytes [N × channels × height × width] → one Float32Array each. */
export function readSamples(samples) {
  const bytes = Uint8Array.from(atob(samples.images), (letter) => letter.charCodeAt(0));
  const size = samples.channels * samples.height * samples.width;
  return samples.labels.map((label, n) => ({
    image: Float32Array.from(bytes.subarray(n * size, (n + 1) * size), (value) => value / 255),
    label,
    label2: samples.labels2?.[n] ?? null,
    kind: samples.kinds?.[n] ?? "right",
  }));
}
