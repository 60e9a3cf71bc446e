/** The page's colours for what is drawn on canvas: read from the style sheet, light or dark. */
import { clamp } from "../engine/math.js";

const SHADES = 128; // on either side of the middle

let probe = null;

/** What `var(name)` is at this moment, as [red, green, blue]. */
export function colour(name) {
  if (probe === null) {
    probe = document.createElement("span");
    probe.hidden = true;
    document.body.append(probe);
  }
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe)
    .color.match(/[\d.]+/g)
    .slice(0, 3)
    .map(Number);
}

/** All that the routing view and the charts need; made anew when the theme changes. */
export function readPalette() {
  const [less, equal, more] = [colour("--less"), colour("--equal"), colour("--more")];
  const shades = [];
  for (let k = -SHADES; k <= SHADES; k++) {
    // The first step away from the middle is a visible one.
    const part = Math.abs(k) / SHADES;
    shades.push(rgb(blend(equal, k < 0 ? less : more, part ** 0.8)));
  }
  return {
    shades,
    empty: rgb(colour("--cell")),
    ink: rgb(colour("--ink")),
    quiet: rgb(colour("--quiet")),
    surface: rgb(colour("--surface")),
  };
}

/** The shade of a value in [−1, 1]: less than equal (blue) to more than equal (orange). */
export function shade(palette, value) {
  return palette.shades[SHADES + Math.round(SHADES * clamp(value, -1, 1))];
}

function blend(from, to, part) {
  return from.map((value, k) => Math.round(value + (to[k] - value) * part));
}

function rgb(values) {
  return `rgb(${values.join(" ")})`;
}

/**
 * How far c is from the equal share, in [−1, 1]: log(c / share), with ±1 at a factor of
 * share^(−1/gain). Gain 1 reaches c = 1; a larger gain shows smaller differences.
 */
export function departure(coupling, share, gain) {
  if (share === 1) return 0; // of one class, whose coupling is always 1
  if (coupling <= 0) return -1;
  return clamp((gain * Math.log(coupling / share)) / -Math.log(share), -1, 1);
}

/** The couplings at which the scale ends, for the legend. */
export function scaleEnds(share, gain) {
  const factor = share ** (-1 / gain);
  return { low: share / factor, high: share * factor };
}
