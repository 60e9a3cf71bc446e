// The engine beside the page: first gets the model, then answers {id, kind, …} by {id, result}.

import { answer, readModel } from "./engine/network.js";

let model = null;

globalThis.onmessage = ({ data: message }) => {
  const { id, kind } = message;
  try {
    if (kind === "model") {
      model = readModel(message.data);
      return;
    }
    const result = answer(model, message);
    globalThis.postMessage({ id, result }, [...new Set(buffersOf(result))]);
  } catch (error) {
    globalThis.postMessage({ id, error: String(error) });
  }
};

/** The memory of all arrays in a result: it is handed over, not copied. */
function buffersOf(value) {
  if (ArrayBuffer.isView(value)) return [value.buffer];
  if (value === null || typeof value !== "object") return [];
  return Object.values(value).flatMap(buffersOf);
}
