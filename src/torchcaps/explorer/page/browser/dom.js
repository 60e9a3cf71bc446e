/** Building elements. Words reach the page as text nodes only, never as markup. */

const SVG = "http://www.w3.org/2000/svg"; // a name, not an address that anything is fetched from

/** `element("p", { class: "hint", onclick: act }, "words", child)`. */
export function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined)
      node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

export function byId(id) {
  return document.getElementById(id);
}

/** Set an element's text, touching the page only when it differs. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function prefersStillness() {
  return window.matchMedia("(prefers-reduced-motion: reduce)").matches;
}
