// Figures per minute as small and large charts, drawn by uPlot (vendored, loaded when first needed).

import { h } from "./dom.js";
import { minute } from "./format.js";

/** @type {Promise<any> | null} */
let loading = null;

function uPlotLoaded() {
  loading ??= new Promise((resolve, reject) => {
    const script = h("script", { src: "vendor/uplot/uPlot.iife.min.js" });
    script.addEventListener("load", () => resolve(globalThis.uPlot));
    script.addEventListener("error", () => reject(new Error("uPlot could not be loaded.")));
    document.head.append(
      h("link", { rel: "stylesheet", href: "vendor/uplot/uPlot.min.css" }),
      script,
    );
  });
  return loading;
}

/** Colours come from the style sheet at each drawing, so that charts follow light and dark. */
const colour = (name) => () =>
  getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A chart of `[[minute, ended, failed], …]`: an element, and `update(minutes)`. */
export function minutesChart({ width, height, isLarge = false, label, signal }) {
  const element = h("div", {
    class: isLarge ? "chart" : "spark",
    role: "img",
    "aria-label": label,
  });
  /** @type {any} */
  let plot = null;
  let shown = "";
  /** @type {number[][]} */
  let wanted = [];

  async function update(minutes) {
    const key = JSON.stringify(minutes);
    if (key === shown) return;
    shown = key;
    wanted = columnsOf(minutes);
    const UPlot = await uPlotLoaded();
    if (signal.aborted) return;
    element.setAttribute("aria-label", `${label}: ${spoken(minutes)}`);
    if (plot) return plot.setData(wanted);
    const size = { width: isLarge ? element.clientWidth || width : width, height };
    plot = new UPlot(isLarge ? large(UPlot, size) : small(UPlot, size), wanted, element);
    watch();
  }

  function watch() {
    const theme = matchMedia("(prefers-color-scheme: dark)");
    theme.addEventListener("change", () => plot.redraw(), { signal });
    signal.addEventListener("abort", () => plot.destroy());
    if (!isLarge) return;
    const resized = new ResizeObserver(() => plot.setSize({ width: element.clientWidth, height }));
    resized.observe(element);
    signal.addEventListener("abort", () => resized.disconnect());
  }

  return { element, update };
}

const columnsOf = (minutes) => [
  minutes.map(([minute]) => Date.parse(minute) / 1000),
  minutes.map(([, ended]) => ended),
  minutes.map(([, , failed]) => failed),
];

function spoken(minutes) {
  const [ended, failed] = [1, 2].map((column) =>
    minutes.reduce((sum, minute) => sum + minute[column], 0),
  );
  return `${ended} ended, ${failed} failed in the last ${minutes.length} minutes`;
}

const series = (UPlot) => {
  const bars = UPlot.paths.bars({ size: [0.8, 40] });
  return [
    {},
    {
      label: "ended",
      stroke: colour("--chart"),
      fill: colour("--chart"),
      width: 0,
      paths: bars,
      points: { show: false },
    },
    {
      label: "failed",
      stroke: colour("--bad"),
      fill: colour("--bad"),
      width: 0,
      paths: bars,
      points: { show: false },
    },
  ];
};

const small = (UPlot, size) => ({
  ...size,
  series: series(UPlot),
  axes: [{ show: false }, { show: false }],
  scales: { y: { range: (_, __, most) => [0, Math.max(most, 1)] } },
  legend: { show: false },
  cursor: { show: false },
  padding: [2, 0, 0, 0],
});

const axis = {
  stroke: colour("--muted"),
  grid: { stroke: colour("--line"), width: 1 },
  ticks: { show: false },
  font: "11px system-ui",
};

const WHOLE = [1, 2, 5]
  .flatMap((digit) => [0, 1, 2, 3, 4, 5, 6].map((power) => digit * 10 ** power))
  .sort((a, b) => a - b);

const large = (UPlot, size) => ({
  ...size,
  series: series(UPlot).map((one, index) =>
    index
      ? { ...one, value: (_, value) => value ?? "" }
      : { label: "at", value: (_, at) => (at ? minute(at) : "") },
  ),
  axes: [
    { ...axis, size: 28, grid: { show: false }, values: (_, marks) => marks.map(minute) },
    { ...axis, size: 44, incrs: WHOLE },
  ],
  scales: { y: { range: (_, __, most) => [0, Math.max(most * 1.05, 1)] } },
  legend: { live: true, markers: { width: 0 } },
  cursor: { y: false, points: { show: false } },
});
