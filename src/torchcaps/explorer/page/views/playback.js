/** Moving through routing: the scrubber over iterations, play, and line by line. */
import { element, say } from "../browser/dom.js";
import { clamp } from "../engine/math.js";
import { lastStep, MOST_ITERATIONS, momentOf, STEPS } from "../state/timeline.js";

const LINE_TIME = 420; // milliseconds a line while playing

export function createPlayback(parts, store) {
  const { play, scrubber, ticks, words, rounds, back, on, rewind, forward } = parts;
  let timer = 0;
  let iterations = 0;

  const go = (step) => store.set({ step });
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    store.set({ playing: false });
  };
  const start = () => {
    const end = lastStep(store.state.iterations);
    if (store.state.step >= end) go(0);
    store.set({ playing: true });
    timer = setInterval(() => {
      if (store.state.step >= lastStep(store.state.iterations)) stop();
      else go(store.state.step + 1);
    }, LINE_TIME);
  };

  play.addEventListener("click", () => (store.state.playing ? stop() : start()));
  scrubber.addEventListener("input", () => {
    stop();
    go(STEPS * Number(scrubber.value));
  });
  back.addEventListener("click", () => {
    stop();
    go(Math.max(0, store.state.step - 1));
  });
  on.addEventListener("click", () => {
    stop();
    go(Math.min(lastStep(store.state.iterations), store.state.step + 1));
  });
  /** To the end of the iteration before or after. */
  const iterate = (by) => {
    const { step, iterations: count } = store.state;
    stop();
    go(clamp(STEPS * (momentOf(step, count).iteration + by), 0, lastStep(count)));
  };
  rewind.addEventListener("click", () => iterate(-1));
  forward.addEventListener("click", () => iterate(1));
  const setRounds = (wished) => {
    const count = clamp(Math.round(wished), 1, MOST_ITERATIONS);
    stop();
    store.set({ iterations: count, step: lastStep(count) });
  };
  rounds.addEventListener("input", () => {
    const wished = Number(rounds.value); // while someone types it may be empty, or anything
    if (Number.isInteger(wished) && wished >= 1 && wished <= MOST_ITERATIONS) setRounds(wished);
  });
  rounds.addEventListener("change", () => {
    setRounds(Number(rounds.value) || store.state.iterations);
    rounds.value = store.state.iterations;
  });

  function update(state) {
    if (iterations !== state.iterations) {
      iterations = state.iterations;
      scrubber.max = iterations;
      if (Number(rounds.value) !== iterations) rounds.value = iterations;
      ticks.replaceChildren(
        ...Array.from({ length: iterations + 1 }, (_, t) => element("span", {}, String(t))),
      );
    }
    const { iteration } = momentOf(state.step, iterations);
    if (Number(scrubber.value) !== iteration) scrubber.value = iteration;
    const text = momentInWords(state.step, iterations);
    scrubber.setAttribute("aria-valuetext", text);
    say(words, text);
    say(play, state.playing ? "Pause" : "Play");
    play.classList.toggle("playing", state.playing);
    back.disabled = rewind.disabled = state.step <= 0;
    on.disabled = forward.disabled = state.step >= lastStep(iterations);
  }
  return { update, start, stop };
}

export function momentInWords(step, iterations) {
  const { iteration, line } = momentOf(step, iterations);
  if (iteration === 0) return "before routing: equal shares";
  const done = line >= 7 ? "after" : "in";
  return `${done} iteration ${iteration} of ${iterations}`;
}
