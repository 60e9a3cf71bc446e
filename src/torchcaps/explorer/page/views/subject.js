/** What the page says, by what the network has learned from: digits, other drawings, or photos. */
import { byId, say } from "../browser/dom.js";

const TEXTS = {
  drawings: {
    title: "Draw and watch it being routed",
    hint: "Draw here, large, with mouse, pen or finger",
    two: "draw two things over each other.",
  },
  photos: {
    title: "Watch an image being routed",
    heading: "Image",
    hint: "Choose an image below, upload one, or drop it here",
    strip: "Images it has not learned from. You may also paste one.",
    two: "as in an image of both.",
  },
};

/** Digits, which the page itself speaks of, need no other words. */
export function saySubject(subject) {
  const texts = TEXTS[subject];
  if (!texts) return;
  document.title = texts.title;
  say(byId("title-heading"), texts.title);
  say(byId("board-hint"), texts.hint);
  say(byId("two-at-once"), texts.two);
  if (subject !== "photos") return;
  say(byId("draw-heading"), texts.heading);
  say(byId("strip-hint"), texts.strip);
  byId("fit").closest("label").hidden = true; // a photo goes in whole
}

/** "Nothing drawn yet." or its like. */
export function nothingYet(subject) {
  return subject === "photos" ? "No image yet." : "Nothing drawn yet.";
}
