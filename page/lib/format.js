// Times, durations, figures and ids as people read them. Times are shown in the zone that
// the foot of the page names; the title of each has it in full, in UTC. Figures may be raw JSON, and stats may be no figures
// at all.

import { numberOf } from "./exact.js";

const NUMBER = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
/** @type {Record<string, Intl.DateTimeFormatOptions>} */
const PARTS = {
  clock: { hour: "2-digit", minute: "2-digit", second: "2-digit" },
  minute: { hour: "2-digit", minute: "2-digit" },
  day: { day: "numeric", month: "short" },
  year: { day: "numeric", month: "short", year: "numeric" },
};
let shown = formatsOf(undefined);

/** @param {string | undefined} timeZone */
function formatsOf(timeZone) {
  /** @type {[string, Intl.DateTimeFormat][]} */
  const formats = Object.entries(PARTS).map(([name, parts]) => [
    name,
    new Intl.DateTimeFormat("en-GB", { ...parts, timeZone }),
  ]);
  return Object.fromEntries(formats);
}

/** The zone of the reader's machine. */
export const ownZone = () => new Intl.DateTimeFormat().resolvedOptions().timeZone;

/**
 * Show all times in a zone, such as "UTC", from now on; null: in the reader's.
 *
 * @param {string | null} zone
 */
export function setZone(zone) {
  shown = formatsOf(zone ?? undefined);
}

/**
 * Milliseconds since 1970, or null.
 *
 * @type {{(time: string): number, (time: string | null | undefined): number | null}}
 */
export const instant = (/** @type {any} */ time) =>
  /** @type {any} */ (time ? Date.parse(time) : null);

/**
 * `format` for a number, a dash for any other value.
 *
 * @param {(known: number) => string} format
 * @returns {(value: unknown) => string}
 */
const figured = (format) => (value) => {
  const known = numberOf(value);
  return known !== null && Number.isFinite(known) ? format(known) : "–";
};

export const number = figured((value) => NUMBER.format(value));

/** 12,345 below 100,000, then 123.5K. */
export const short = figured((value) =>
  (Math.abs(value) < 100_000 ? NUMBER : COMPACT).format(value),
);

/** Cents as dollars. */
export const money = figured((cents) => (cents ? `$${(cents / 100).toFixed(2)}` : "–"));

export const percent = figured((value) => {
  if (value === 0) return "0%";
  return value < 0.1 ? "<0.1%" : `${value < 10 ? value.toFixed(1) : Math.round(value)}%`;
});

export const bytes = figured((count) =>
  count < 1024
    ? `${count} B`
    : count < 1024 ** 2
      ? `${NUMBER.format(count / 1024)} KiB`
      : `${NUMBER.format(count / 1024 ** 2)} MiB`,
);

/** Milliseconds as 0.4 ms, 320 ms, 4.2 s, 3 m 20 s, 2 h 5 m, 3 d 4 h. */
export const duration = figured((ms) => {
  if (ms < 1) return ms <= 0 ? "0 ms" : `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${seconds % 60} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h ${minutes % 60} m`;
  return `${Math.floor(minutes / 1440)} d ${Math.floor((minutes % 1440) / 60)} h`;
});

/**
 * hh:mm:ss today, with the day before today, with the year before this year.
 *
 * @param {string} time
 */
export function clock(time) {
  const date = new Date(time);
  const now = new Date();
  const at = shown.clock.format(date);
  const [day, today] = [date, now].map((one) => shown.year.format(one));
  if (day === today) return at;
  return `${day.slice(-4) === today.slice(-4) ? shown.day.format(date) : day}, ${at}`;
}

/** hh:mm of seconds since 1970. */
export const minute = (/** @type {number} */ seconds) => shown.minute.format(seconds * 1000);

/** Three decimals of a second behind the clock, for events close together. */
export const precise = (/** @type {string} */ time) =>
  `${clock(time)}.${String(new Date(time).getMilliseconds()).padStart(3, "0")}`;

const UUID = /^[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}$/i;

/** The end of a UUID, as version 7 UUIDs made together begin alike; ids that people chose are whole. */
export const shortId = (/** @type {string} */ id) => (UUID.test(id) ? `…${id.slice(-8)}` : id);

/** @param {unknown} count @param {string} one @param {string} many */
export const plural = (count, one, many = `${one}s`) =>
  `${number(count)} ${count === 1 ? one : many}`;
