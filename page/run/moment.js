// A slider over the life of a run: at its right end the run as it moves, elsewhere as it was then.

import { h, setText } from "../lib/dom.js";
import { precise } from "../lib/format.js";

const STEPS = 1_000; // of the slider

/** An element, and `update(span)`; `onMoment(time)` with a time in UTC, or null for now. */
export function momentView(onMoment) {
  const slider = h("input", {
    type: "range",
    min: 0,
    max: STEPS,
    value: STEPS,
    "aria-label": "Moment",
    "aria-valuetext": "now",
  });
  const shown = h("span", { class: "hint", role: "status" }, "now");
  let span = null;

  function moment() {
    const part = Number(slider.value) / STEPS;
    if (part >= 1 || span === null) return null;
    return new Date(span[0] + (span[1] - span[0]) * part).toISOString();
  }

  function name() {
    const at = moment();
    const text = at === null ? "now" : `as of ${precise(at)}`;
    setText(shown, text);
    slider.setAttribute("aria-valuetext", text);
  }

  slider.addEventListener("input", name);
  slider.addEventListener("change", () => onMoment(moment()));
  // A moving run would move the moment under the reader's hand.
  const update = (now) => {
    if (Number(slider.value) === STEPS) span = now;
  };
  return { element: h("label", { class: "moment" }, slider, shown), update };
}
