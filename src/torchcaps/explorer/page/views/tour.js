/** A guided tour: stations, each of which lights up a part of the page and says what it is. */
import { byId, element, prefersStillness, say } from "../browser/dom.js";
import { shownInput } from "../state/selection.js";
import { lastStep } from "../state/timeline.js";

// What is lit, what the page then shows (line 7 of iteration 1 is step 4), and two sentences.
const STATIONS = [
  {
    part: "board-frame",
    show: () => ({ step: 0, input: null, output: null }),
    text: "Here is an image that the network has not learned from. Whatever you put here is routed at once, on this page alone.",
  },
  {
    part: "stage",
    show: () => ({ step: 0 }),
    text: "Each small square is a primary capsule: it looks at one patch of the image for one kind of thing. A large square is awake, for it has found what it looks for.",
  },
  {
    part: "outputs",
    show: () => ({ step: 0 }),
    text: "On this side is one capsule for each class. Nothing is known of them yet, so every primary capsule divides itself equally among them.",
  },
  {
    part: "outputs",
    show: () => ({ step: 3 }),
    text: "Each primary capsule votes for what each class should look like, and every class adds up its votes. The length of the sum, squashed below 1, is how surely the class is there.",
    attention:
      "Each primary capsule votes for what each class should look like, and every class adds up its votes. The sum, normalised, is its pose, and learned weights read from it how surely the class is there.",
    em: "Each primary capsule votes for what each class should look like, and every class fits a bell curve to its votes. Votes that lie close together cost little to describe, and the less all of them cost, the more surely the class is there.",
  },
  {
    part: "stage",
    show: () => ({ step: 4 }),
    text: "Now every vote is compared with the sum, and where they agree the share grows. Orange squares send the class more than an equal share, blue ones less.",
    em: "Now every vote is compared with the curves, and where one explains it well its share grows. Orange squares send the class more than an equal share, blue ones less.",
  },
  {
    part: "verdict-row",
    show: ({ iterations }) => ({ step: lastStep(iterations), input: null }),
    text: "The same is done again, with the new shares, until the iterations are over. The capsules that agree have pulled the answer up.",
  },
  {
    part: "compare",
    show: () => ({ input: null }),
    text: "The pale bars are the lengths that the same image gets where all shares stay equal. What is more or less in the dark bars is the work of routing.",
    attention:
      "The pale bars show how active the classes are where all shares stay equal. What is more or less in the dark bars is the work of routing.",
  },
  {
    part: "stage",
    show: (state) => ({ input: state.result ? shownInput(state) : null }),
    text: "Pick any square, and lines show where it sends. Escape, or a second click, lets it go.",
  },
  {
    part: "pair",
    show: (state) => ({ input: state.result ? shownInput(state) : null }),
    text: "These are the pixels that it sees, and the matrix that turns its numbers into a vote. On the right are all votes for the class: where they point one way, it becomes long.",
    attention:
      "These are the pixels that it sees, and the matrix that turns its numbers into a vote. On the right are all votes for the class, and where their sum points.",
    em: "These are the pixels that it sees, and the matrix that turns its numbers into a vote. On the right are all votes for the class: where their ends lie close together, its curve is narrow.",
  },
  {
    part: "drawn",
    show: () => ({ input: null }),
    text: "From the numbers of one class capsule alone the network draws the image back. Bend a number, and see what it stands for.",
  },
];

/** `routing`: the name of the one that the page shows, of which a station may have its own text. */
export function createTour(begin, store, onBegin, routing) {
  let station = null; // where it is, or null
  let stations = STATIONS; // those whose part the page has
  const words = element("p", { class: "tour-words", role: "status" });
  const count = element("p", { class: "hint" });
  const back = element("button", { type: "button", onclick: () => go(station - 1) }, "◂ Back");
  const next = element("button", {
    type: "button",
    class: "primary",
    onclick: () => (station === stations.length - 1 ? end() : go(station + 1)),
  });
  const stop = element("button", { type: "button", onclick: () => end() }, "End tour");
  const card = element(
    "section",
    { class: "tour", "aria-label": "Guided tour", hidden: true },
    words,
    element("div", { class: "buttons" }, back, next, stop, count),
  );
  document.body.append(card);

  function go(to) {
    light(false);
    station = to;
    const { show, text, ...others } = stations[station];
    store.set(show(store.state));
    say(words, others[routing] ?? text);
    say(count, `${station + 1} of ${stations.length}`);
    say(next, station === stations.length - 1 ? "Done" : "Next ▸");
    back.disabled = station === 0;
    card.hidden = false;
    document.documentElement.style.scrollPaddingBottom = `${card.offsetHeight + 24}px`;
    light(true);
    next.focus({ preventScroll: true });
  }

  function light(on) {
    if (station === null) return;
    const part = byId(stations[station].part);
    part.classList.toggle("in-tour", on);
    const behavior = prefersStillness() ? "instant" : "smooth";
    if (on) part.scrollIntoView({ behavior, block: "nearest" });
  }

  function end() {
    light(false);
    station = null;
    card.hidden = true;
    document.documentElement.style.scrollPaddingBottom = "";
    store.set({ step: lastStep(store.state.iterations), input: null });
    begin.focus();
  }

  card.addEventListener("keydown", (event) => {
    if (event.key === "Escape") end();
    else if (event.key === "ArrowRight" && station < stations.length - 1) go(station + 1);
    else if (event.key === "ArrowLeft" && station > 0) go(station - 1);
    else return;
    event.preventDefault();
  });
  begin.addEventListener("click", () => {
    stations = STATIONS.filter(({ part }) => byId(part) !== null);
    onBegin();
    go(0);
  });
}
