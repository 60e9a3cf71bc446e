// The routings that the page has: name, as in the model's data → functions. The exporter has the
// same names, and their options, in explorer/routings.py.
//
//   start(votes)                      → logits of the first iteration
//   couple(votes, logits, settings)   → coupling: the shares in which each input divides itself
//   gather(votes, coupling)           → sums over the inputs
//   settle(votes, sums)               → poses of the outputs
//   score(votes, poses, logits)       → logits of the next iteration
//   finish(votes, poses)              → activation of the outputs
//
// A routing is one file beside this one and one row here.

import { dynamic } from "./dynamic.js";

export const ROUTINGS = { dynamic };
