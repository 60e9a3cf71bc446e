/** What the colours mean, with the numbers at their ends. */
import { element, say } from "../browser/dom.js";
import { equalShare, hasAgreement } from "../state/timeline.js";
import { scaleEnds } from "./colours.js";
import { decimal } from "./number_format.js";
import { agreementScale, MOST_CELLS } from "./routing_view.js";

export function createLegend({ box, colourBy, gain, note }, store, config) {
  const share = equalShare(config);
  const [low, middle, high] = ["low", "middle", "high"].map((name) =>
    element("span", { class: `legend-${name}` }),
  );
  box.append(
    element("span", { class: "legend-ramp", "aria-hidden": "true" }),
    element("span", { class: "legend-numbers" }, low, middle, high),
  );
  colourBy.closest("label").hidden = !hasAgreement(config.routing.name);
  colourBy.addEventListener("change", () => store.set({ colourBy: colourBy.value }));
  gain.addEventListener("change", () => store.set({ gain: Number(gain.value) }));

  const count = config.primary_types * config.primary_grid[0] * config.primary_grid[1];
  const few =
    count > MOST_CELLS ? ` Of ${count} capsules the ${MOST_CELLS} most awake are drawn.` : "";

  return function update(state) {
    colourBy.value = state.colourBy;
    gain.value = state.gain;
    gain.disabled = state.colourBy === "agreement";
    if (state.colourBy === "agreement") {
      const most = state.measures ? agreementScale(state.measures) : 0;
      say(low, `−${decimal(most, 2)} opposes`);
      say(middle, "0");
      say(high, `agrees ${decimal(most, 2)}`);
      say(note, `Colour: agreement û·v of the vote with the output shown.${few}`);
      return;
    }
    if (share === 1) {
      for (const end of [low, high]) say(end, "");
      say(middle, decimal(share));
      say(note, `Colour: coupling c, always 1, for there is one class alone.${few}`);
      return;
    }
    const ends = scaleEnds(share, state.gain);
    const exact = state.gain === 1;
    say(low, exact ? "c near 0" : `c ≤ ${decimal(ends.low)}`);
    say(middle, decimal(share));
    say(high, exact ? "c = 1" : `c ≥ ${decimal(ends.high)}`);
    const times = exact ? "true contrast" : `differences shown ${state.gain} times as strong`;
    say(note, `Colour: coupling c, beside the equal share ${decimal(share)}; ${times}.${few}`);
  };
}
