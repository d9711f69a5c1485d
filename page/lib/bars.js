// A row of bars, one a day or hour, for a table; drawn at once and without a library.

import { svg } from "./dom.js";

const WIDTH = 132;
const HEIGHT = 24;

/** Bars of `values`, each with its title; `label` is spoken. */
export function bars(values, titles, label) {
  const most = Math.max(...values, 1);
  const step = WIDTH / values.length;
  const width = Math.max(step * 0.8, 0.6);
  return svg(
    "svg",
    {
      class: "bars",
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      width: WIDTH,
      height: HEIGHT,
      role: "img",
      "aria-label": label,
    },
    values.map((value, index) => {
      const height = value ? Math.max((value / most) * HEIGHT, 1.5) : 0.5;
      const place = { x: index * step, y: HEIGHT - height, width, height };
      return svg("rect", place, svg("title", {}, titles[index]));
    }),
  );
}
