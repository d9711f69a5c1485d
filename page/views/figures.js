// Figures of blocks as they are shown in the list and on a block's own page.

import { h } from "../lib/dom.js";
import { numberOf } from "../lib/exact.js";
import { number, percent, plural } from "../lib/format.js";

export const WINDOWS = { "1m": "Now", "5m": "5 min", "1h": "1 h", "24h": "24 h" };

export const LENGTHS = {
  "1m": "last minute",
  "5m": "last 5 minutes",
  "1h": "last hour",
  "24h": "last 24 hours",
};

/** From here on a rate is shown as bad. */
const BAD = 10; // percent
const WORST = 50;

/**
 * The counts of a window, and those of the window before.
 *
 * @typedef {object} Window
 * @property {unknown} [ended]
 * @property {unknown} [failed]
 * @property {unknown} [caller_failed]
 * @property {unknown} [cascaded]
 * @property {unknown} [skewed]
 * @property {Window} [before]
 */

/** @param {Window} window */
export const rateOf = ({ ended, failed } = {}) => {
  const all = numberOf(ended);
  return all ? (100 * (numberOf(failed) ?? 0)) / all : null;
};

/**
 * The part of ended steps that failed by the caller's input or credentials.
 *
 * @param {Window} window
 */
export const callerRateOf = ({ ended, caller_failed } = {}) =>
  rateOf({ ended, failed: caller_failed ?? 0 });

/**
 * A rate with its counts in the title, and its prominence. `span` names the window.
 *
 * @param {Window} window
 */
export function rate(window = {}, span = "") {
  const value = rateOf(window);
  const level = value === null ? "none" : value >= WORST ? "worst" : value >= BAD ? "bad" : "";
  return h(
    "span",
    {
      class: `rate ${level}`,
      title:
        value === null
          ? `nothing ended${span && `: ${span}`}`
          : `${number(window.failed)} of ${plural(window.ended, "step")} failed${span && `: ${span}`}${causes(window)}`,
    },
    percent(value),
  );
}

/** @param {Window} window */
function causes({ caller_failed, cascaded, skewed }) {
  const parts = [
    numberOf(caller_failed) && `${number(caller_failed)} by the caller's input or credentials`,
    numberOf(cascaded) && `beside them ${plural(cascaded, "step")} ended with their run`,
    numberOf(skewed) && `${plural(skewed, "step")} left out for a skewed clock`,
  ].filter(Boolean);
  return parts.length ? ` (${parts.join("; ")})` : "";
}

/**
 * The change in percentage points against the window before, in words and signs.
 *
 * @param {Window} window
 */
export function change(window = {}) {
  const now = rateOf(window);
  const before = rateOf(window.before);
  if (now === null || before === null) return null;
  const points = now - before;
  if (Math.abs(points) < 0.05)
    return h("span", { class: "change", title: "as in the window before" }, "±0");
  const text = `${points > 0 ? "+" : "−"}${Math.abs(points).toFixed(1)}`;
  return h(
    "span",
    {
      class: `change ${points > 0 ? "up" : "down"}`,
      title: `percentage points; ${percent(before)} in the window before`,
    },
    text,
  );
}
