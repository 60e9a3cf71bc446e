/** The words of the field, each with its meaning one hover, tap or focus away. */
import { byId, element } from "../browser/dom.js";

export const TERMS = {
  capsule:
    "A small group of numbers, a vector, that stands for one thing: its length says how surely the thing is there, its direction how it looks.",
  primary: "The first capsules: each looks at one part of the image for one kind of detail.",
  type: "Capsules of one type look for the same detail, each at its own place of the image.",
  pose: "A capsule’s numbers: how the thing looks, its slant, thickness, place.",
  length: "Of a capsule’s vector, from 0 to 1: how sure the network is that the thing is there.",
  vote: "û (u-hat): what one input capsule expects an output capsule’s pose to be. It has one vote for each output.",
  routing: "Deciding, round by round, which output capsule each input capsule sends its vote to.",
  iteration: "One round of routing: share out, add up, squash, compare.",
  coupling:
    "c, between 0 and 1: the share of itself that an input capsule sends to an output capsule. The shares of one input add up to 1.",
  logit: "b: a running score of agreement. The softmax turns the scores into shares.",
  softmax: "Turns scores into shares that add up to 1; the higher the score, the larger the share.",
  squash:
    "Keeps a vector’s direction and brings its length to below 1: short ones shrink to nearly 0, long ones approach 1.",
  agreement:
    "û·v, the dot product: large when a vote points the way the output capsule does, negative when it points against it.",
  entropy:
    "How spread out the shares are. Equal shares have the most (the logarithm of their number); a single share of 1 has 0.",
  margin:
    "The marks of training: a class that is there should be longer than 0.9, one that is not shorter than 0.1.",
  decoder: "The part that draws an image back from the numbers of one output capsule.",
  reconstruction: "The image that the network draws from the numbers of one output capsule alone.",
};

// What means something else with another routing.
const TERMS_OF = {
  attention: {
    capsule:
      "A small group of numbers, a vector, that says how one thing looks. How surely it is there: of a primary capsule the length, of a class capsule the activation.",
    activation:
      "a, from 0 to 1: how sure the network is that the class is there. Learned weights read it from the capsule’s pose.",
    iteration: "One round of routing: share out, add up, normalise, compare.",
    logit:
      "b: how well a vote agrees with an output capsule, û·v over the root of the number of its components. The softmax turns these scores into shares.",
  },
  em: {
    capsule:
      "A small group of numbers, a vector, that says how one thing looks. How surely it is there: of a primary capsule the length, of a class capsule the activation.",
    activation:
      "a, from 0 to 1: how sure the network is that the class is there. The less it costs to describe its votes, the larger it is; votes that lie close together cost little.",
    iteration: "One round of routing: share out, fit, compare.",
    coupling:
      "c, between 0 and 1: the share of itself that an input capsule gives to an output capsule. By softmax, the shares of one input add up to 1.",
    logit:
      "b: how well an output capsule explains a vote, ln a + ln N. The softmax turns these scores into shares.",
    gaussian:
      "The bell curve with mean μ and spread σ, in every component one: high where votes are frequent.",
  },
};

/** `routing`: the name of the one that the page shows. */
export function createGlossary(routing) {
  const terms = { ...TERMS, ...TERMS_OF[routing] };
  const tip = byId("term-tip");
  let open = null;

  function show(button) {
    open = button;
    tip.textContent = terms[button.dataset.term];
    tip.hidden = false;
    const place = button.getBoundingClientRect();
    const wide = tip.offsetWidth;
    const left = Math.min(Math.max(8, place.left), document.documentElement.clientWidth - wide - 8);
    const above = place.top > tip.offsetHeight + 12;
    const top = above ? place.top - tip.offsetHeight - 6 : place.bottom + 6;
    tip.style.left = `${left + window.scrollX}px`;
    tip.style.top = `${top + window.scrollY}px`;
  }
  function hide() {
    open = null;
    tip.hidden = true;
  }

  for (const [name, meaning] of Object.entries(terms)) {
    byId("meanings").append(element("p", { id: `term-${name}` }, meaning));
  }
  for (const button of document.querySelectorAll("[data-term]")) {
    button.setAttribute("aria-describedby", `term-${button.dataset.term}`);
    button.addEventListener("pointerenter", () => show(button));
    button.addEventListener("focus", () => show(button));
    button.addEventListener("click", () => show(button));
    button.addEventListener("pointerleave", (event) => {
      // WCAG 1.4.13: the tip itself may be hovered.
      if (event.relatedTarget !== tip && document.activeElement !== button) hide();
    });
    button.addEventListener("blur", hide);
  }
  tip.addEventListener("pointerleave", () => {
    if (document.activeElement !== open) hide();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && open) hide();
  });
}
