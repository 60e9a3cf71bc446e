/**
 * What the step-by-step table shows of each routing: name → {columns, lit, vectors, values, strips,
 * sentence}.
 *
 * columns: heads of the table; lit: which of them a line has just computed. values(shown): each
 * column as a function of the class; sentence(values, moment, name, j): what the line has done for
 * class j. vectors: [symbol, meaning] of the strips below; strips(shown): what they draw, tables
 * [J·D], or nothing where they are not known yet.
 *
 * `shown` is {trace, moment, i, votes (of input i), agreement, config}. The lines
 * themselves stand in index.html.
 */
import { attention } from "./attention.js";
import { dynamic } from "./dynamic.js";
import { em } from "./em.js";

export const PROCEDURES = { dynamic, attention, em };
