// Numbers as the page carries them: base64 of little-endian fp16.

// The number that each pattern of 16 bits stands for: sign, 5 bits of exponent, 10 of fraction.
const HALF = new Float32Array(65536);
for (let bits = 0; bits < 65536; bits++) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) HALF[bits] = fraction ? NaN : sign * Infinity;
  else if (exponent === 0) HALF[bits] = sign * fraction * 2 ** -24;
  else HALF[bits] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Base64 → Uint8Array. */
export function bytesFromBase64(text) {
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let k = 0; k < bytes.length; k++) bytes[k] = letters.charCodeAt(k);
  return bytes;
}

/** Base64 of little-endian fp16 → Float32Array. */
export function floatsFromBase64(text) {
  const bytes = bytesFromBase64(text);
  const floats = new Float32Array(bytes.length >> 1);
  for (let k = 0; k < floats.length; k++) {
    floats[k] = HALF[bytes[2 * k] | (bytes[2 * k + 1] << 8)];
  }
  return floats;
}
