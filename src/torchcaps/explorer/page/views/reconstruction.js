/** What the network draws from one class capsule's numbers, and sliders that bend them. */
import { showPixels } from "../browser/canvas.js";
import { element, say } from "../browser/dom.js";
import { longest } from "../engine/math.js";
import { decimal, signed } from "./number_format.js";
import { wordsOf } from "./routing_words.js";

const NEAR = 0.25; // as far as the paper bends a dimension (Fig 4)
const FAR = 1;

export function createReconstruction(parts, engine, store, config, leftOut = false) {
  const { box, input, output, choice, sliders, reset, free, words, misfit } = parts;
  if (!config.reconstruct) {
    box.replaceChildren(
      element(
        "p",
        { class: "hint" },
        leftOut
          ? "This network’s decoder is too large for a page, and was left out."
          : "This network was built without a decoder: it draws nothing.",
      ),
    );
    return () => {};
  }
  const offsets = new Float32Array(config.pose_dim);
  choice.append(element("option", { value: "" }, `the ${wordsOf(config).most}`));
  for (const [k, name] of config.class_names.entries()) {
    choice.append(element("option", { value: k }, name));
  }
  const controls = Array.from(offsets, (_, d) => slider(d));
  sliders.append(...controls.map(({ label }) => label));

  function slider(d) {
    const range = element("input", {
      type: "range",
      min: -NEAR,
      max: NEAR,
      step: 0.01,
      value: 0,
      "aria-label": `Bend number ${d + 1} of the pose`,
    });
    const value = element("span", { class: "slider-value" }, "0.00");
    range.addEventListener("input", () => {
      offsets[d] = Number(range.value);
      request();
    });
    const name = element("span", { class: "slider-name", "aria-hidden": "true" }, String(d + 1));
    return { label: element("label", { class: "slider" }, name, range, value), range, value };
  }

  const chosen = () =>
    choice.value === "" ? longest(store.state.result.activation) : Number(choice.value);
  const bent = () => offsets.some((offset) => offset !== 0);

  reset.addEventListener("click", () => {
    offsets.fill(0);
    for (const { range } of controls) range.value = 0;
    request();
  });
  free.addEventListener("change", () => {
    for (const [d, { range }] of controls.entries()) {
      range.max = free.checked ? FAR : NEAR;
      range.min = -range.max;
      offsets[d] = Number(range.value); // the browser has clamped it
    }
    request();
  });
  choice.addEventListener("change", () => request());

  /** Ask for the picture. The engine drops a request when a newer one comes: it then gives null. */
  async function request() {
    show();
    const { result } = store.state;
    if (!result) return;
    const pose = Float32Array.from(result.trace.poses[result.trace.poses.length - 1]);
    const k = chosen();
    for (let d = 0; d < offsets.length; d++) pose[k * offsets.length + d] += offsets[d];
    const picture = await engine.reconstruct(pose, k);
    if (picture !== null && store.state.result === result) store.set({ reconstruction: picture });
  }

  function show() {
    controls.forEach(({ range, value }, d) => {
      const before = poseValue(d);
      say(value, signed(offsets[d], 2));
      const now = before === null ? "" : `: ${decimal(before + offsets[d], 2)}`;
      range.setAttribute("aria-valuetext", `${signed(offsets[d], 2)}${now}`);
      range.title =
        before === null ? "" : `number ${d + 1} is ${decimal(before, 2)}${bent() ? now : ""}`;
    });
    reset.disabled = !bent();
  }

  function poseValue(d) {
    const { result } = store.state;
    if (!result) return null;
    const poses = result.trace.poses;
    return poses[poses.length - 1][chosen() * offsets.length + d];
  }

  return function update(state, changed) {
    if (changed.has("result")) {
      for (const { range } of controls) range.disabled = !state.result;
      showPixels(input, state.image, config.image_size, config.channels);
      if (!state.result) store.set({ reconstruction: null });
      else if (bent() || choice.value !== "") request();
      else store.set({ reconstruction: state.result.reconstruction });
      show();
    }
    if (changed.has("reconstruction") || changed.has("result")) {
      showPixels(output, state.reconstruction, config.image_size, config.channels);
      const name = state.result ? config.class_names[chosen()] : "";
      say(misfit, misfitInWords(state, config));
      say(words, state.result ? `drawn as ${name}${bent() ? ", bent" : ""}` : "nothing yet");
      output.setAttribute(
        "aria-label",
        state.result ? `Reconstruction, drawn as class ${name}` : "No reconstruction yet",
      );
    }
  };
}

/** How unlike the input what the long capsules draw is, and from where on that is too much. */
function misfitInWords({ result }, config) {
  if (!result) return "";
  const told = `Misfit ${decimal(result.misfit, 2)}: the squared difference of the two pictures, beside the input’s own square.`;
  if (config.misfit_limit === null) return told;
  const more = wordsOf(config).margins ? "In doubt, more" : "More";
  return `${told} ${more} than ${decimal(config.misfit_limit, 2)} is nothing it knows.`;
}
