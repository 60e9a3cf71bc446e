// The routings that the page has: name, as in the model's data → functions. The exporter has the
// same names, and their options, in explorer/routings.py.
//
//   couple(given, logits, t)         → coupling: the shares in which each input divides itself
//   gather(given, coupling, state)   → sums over the inputs
//   settle(given, sums, state, t)    → state of the outputs, from the one before (null at first):
//                                      {poses, activation, …}
//   score(given, state, logits)      → logits of the next iteration
//
// `given` is what is routed, and the settings: see route.js. Iterations t count from 1; the logits of
// the first are 0.
//
// A routing is one file beside this one and one row here, and its words for the page are in
// views/routing_words.js.

import { attention } from "./attention.js";
import { dynamic } from "./dynamic.js";
import { em } from "./em.js";

export const ROUTINGS = { dynamic, attention, em };
