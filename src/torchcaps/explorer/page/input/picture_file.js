/** Reading a picture that someone hands in, and refusing in one sentence what is none. */

const LARGEST_FILE = 30e6; // bytes
const LARGEST_PICTURE = 40e6; // pixels: more would take the browser's memory
const HEAD = 65536;

/** A mistake in what was handed in; its message is for the person. */
export class PictureError extends Error {}

/** → { image, notice }: an HTMLImageElement, loaded, and a sentence worth saying (or ""). */
export async function readPicture(file) {
  const name = file.name ? `“${file.name}”` : "The picture";
  if (file.size === 0) throw new PictureError(`${name} is empty: choose another file.`);
  if (file.size > LARGEST_FILE) {
    throw new PictureError(
      `${name} has ${Math.round(file.size / 1e6)} MB; at most ${LARGEST_FILE / 1e6} MB are read: ` +
        "make it smaller first.",
    );
  }
  const head = new Uint8Array(await file.slice(0, HEAD).arrayBuffer());
  const kind = kindOf(head);
  if (kind === null) {
    throw new PictureError(
      `${name} is not a picture that can be read here: PNG, JPEG, GIF, WebP or BMP.`,
    );
  }
  const animated = kind === "GIF" ? await manyFrames(file) : announcesFrames(head, kind);
  const image = await decode(file.slice(0, file.size, `image/${kind.toLowerCase()}`), name);
  return { image, notice: animated ? `${name} is animated: its first picture is used.` : "" };
}

async function decode(blob, name) {
  const address = URL.createObjectURL(blob);
  try {
    const image = new Image();
    await new Promise((resolve, reject) => {
      image.onload = resolve;
      image.onerror = () =>
        reject(
          new PictureError(
            `${name} is damaged, cut off or far too large: save it again, or choose another.`,
          ),
        );
      image.src = address;
    });
    const { naturalWidth: width, naturalHeight: height } = image;
    if (width * height > LARGEST_PICTURE) {
      throw new PictureError(
        `${name} has ${width} × ${height} pixels; at most ${LARGEST_PICTURE / 1e6} million are ` +
          "read: make it smaller first.",
      );
    }
    if (width === 0 || height === 0) {
      throw new PictureError(`${name} has no pixels: choose another.`);
    }
    return image;
  } finally {
    // The loaded image keeps its data; the address is not needed again.
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }
}

/** By the first bytes, never by the name. */
function kindOf(head) {
  const text = latin(head, 0, 12);
  if (text.startsWith("\x89PNG\r\n\x1a\n")) return "PNG";
  if (text.startsWith("\xff\xd8\xff")) return "JPEG";
  if (text.startsWith("GIF87a") || text.startsWith("GIF89a")) return "GIF";
  if (text.startsWith("RIFF") && text.slice(8, 12) === "WEBP") return "WebP";
  if (text.startsWith("BM")) return "BMP";
  return null;
}

/** PNG and WebP say near their beginning that frames follow. */
function announcesFrames(head, kind) {
  const text = latin(head, 0, head.length);
  if (kind === "PNG") {
    const [frames, data] = [text.indexOf("acTL"), text.indexOf("IDAT")];
    return frames > 0 && (data < 0 || frames < data);
  }
  return kind === "WebP" && text.slice(12, 48).includes("ANIM");
}

/** A GIF has as many pictures as it has graphic control blocks (two bytes, and a size of 4). */
async function manyFrames(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  let frames = 0;
  for (let k = 0; k + 2 < bytes.length && frames < 2; k++) {
    if (bytes[k] === 0x21 && bytes[k + 1] === 0xf9 && bytes[k + 2] === 4) frames++;
  }
  return frames > 1;
}

function latin(bytes, from, to) {
  let text = "";
  for (let k = from; k < Math.min(to, bytes.length); k++) text += String.fromCharCode(bytes[k]);
  return text;
}
