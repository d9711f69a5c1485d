// Times, durations, figures and ids as people read them. Times are shown in the reader's zone;
// the title of each has it in full, in UTC. Figures may be raw JSON, and stats may be no figures
// at all.

import { numberOf } from "./exact.js";

const NUMBER = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const CLOCK = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const YEAR = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

/** Milliseconds since 1970, or null. */
export const instant = (time) => (time ? Date.parse(time) : null);

/** `format` for a number, a dash for any other value. */
const figured = (format) => (value) => {
  const known = numberOf(value);
  return Number.isFinite(known) ? format(known) : "–";
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

/** hh:mm:ss today, with the day before today, with the year before this year. */
export function clock(time) {
  const date = new Date(time);
  const now = new Date();
  const at = CLOCK.format(date);
  if (date.toDateString() === now.toDateString()) return at;
  return `${(date.getFullYear() === now.getFullYear() ? DAY : YEAR).format(date)}, ${at}`;
}

/** Three decimals of a second behind the clock, for events close together. */
export const precise = (time) =>
  `${clock(time)}.${String(new Date(time).getMilliseconds()).padStart(3, "0")}`;

const UUID = /^[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}$/i;

/** The end of a UUID, as version 7 UUIDs made together begin alike; ids that people chose are whole. */
export const shortId = (id) => (UUID.test(id) ? `…${id.slice(-8)}` : id);

export const plural = (count, one, many = `${one}s`) =>
  `${number(count)} ${count === 1 ? one : many}`;
