/** What the page says of the routing that it shows, where the page's frame says it of dynamic. */

// measure: what a class capsule has that says how surely the class is there; most, less: of it.
const BY_LENGTH = { measure: "length", most: "longest", less: "shorter than", margins: true };
const BY_ACTIVATION = { measure: "activation", most: "most active", less: "below", margins: false };

const WORDS = { dynamic: BY_LENGTH, attention: BY_ACTIVATION, em: BY_ACTIVATION };

export function wordsOf(config) {
  return WORDS[config.routing.name];
}

/** Of the parts of the page's frame that name routings, those that do not name this one go. */
export function keepPartsOf(name) {
  for (const part of document.querySelectorAll("[data-routing]")) {
    if (!part.dataset.routing.split(" ").includes(name)) part.remove();
  }
}
