// The live feed. `fetch` and not EventSource, which can send no token. After a break it goes on
// behind the last frame it has seen, so nothing is missed and nothing comes twice.

import { addressOf, authorization, query, wantToken } from "./api.js";
import { parse } from "./exact.js";

const FIRST_PAUSE = 500; // milliseconds, doubled up to the last
const LAST_PAUSE = 10_000;
const SILENCE = 40_000; // milliseconds without even a heartbeat: the line is dead

/**
 * Follow `/v1/stream` until the signal is aborted.
 *
 * `on.snapshot(data)`, `on.event(event)`, `on.resync(data)`, `on.state("live" | "connecting" |
 * "lost", detail)`. Rests while the tab is hidden and catches up when it is shown again.
 */
export async function follow(filters, signal, on) {
  let cursor = null;
  let pause = FIRST_PAUSE;
  while (!signal.aborted) {
    on.state?.("connecting");
    try {
      await shown(signal);
      cursor = await read(filters, cursor, signal, on, () => (pause = FIRST_PAUSE));
    } catch (error) {
      if (signal.aborted) return;
      cursor = error.cursor ?? cursor;
      if (error.status && error.status !== 503 && error.status !== 502) {
        on.state?.("lost", error.message);
        if (error.status < 500) return;
      }
    }
    if (!signal.aborted && !document.hidden) on.state?.("lost", "The live feed was interrupted.");
    await rest(pause, signal);
    pause = Math.min(pause * 2, LAST_PAUSE);
  }
}

async function read(filters, cursor, signal, on, onOpen) {
  const line = new AbortController();
  const end = () => line.abort();
  signal.addEventListener("abort", end);
  const hide = () => document.hidden && end();
  document.addEventListener("visibilitychange", hide);
  let watchdog;
  const heard = () => {
    clearTimeout(watchdog);
    watchdog = setTimeout(end, SILENCE);
  };
  try {
    const headers = { Accept: "text/event-stream", ...authorization() };
    if (cursor !== null) headers["Last-Event-ID"] = cursor;
    heard();
    const answer = await fetch(addressOf(`/v1/stream${query(filters)}`), {
      headers,
      signal: line.signal,
    });
    if (answer.status === 401) wantToken(headers);
    if (!answer.ok) throw Object.assign(new Error(await reason(answer)), { status: answer.status });
    on.state?.("live");
    onOpen();
    for await (const frame of frames(answer.body)) {
      heard();
      if (frame.id !== undefined) cursor = frame.id;
      on[frame.event]?.(parse(frame.data));
    }
    return cursor;
  } catch (error) {
    throw Object.assign(error, { cursor });
  } finally {
    clearTimeout(watchdog);
    signal.removeEventListener("abort", end);
    document.removeEventListener("visibilitychange", hide);
    end();
  }
}

/** Frames of a server-sent event stream. */
export async function* frames(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split(/\r?\n\r?\n/);
    rest = blocks.pop() ?? "";
    for (const block of blocks) {
      const frame = frameOf(block);
      if (frame.data !== undefined) yield frame;
    }
  }
}

function frameOf(block) {
  const frame = { event: "message" };
  for (const line of block.split(/\r?\n/)) {
    const colon = line.indexOf(":");
    if (colon <= 0) continue; // a comment
    const value = line.slice(colon + 1).replace(/^ /, "");
    const field = line.slice(0, colon);
    frame[field] = field === "data" && frame.data !== undefined ? `${frame.data}\n${value}` : value;
  }
  return frame;
}

async function reason(answer) {
  try {
    return (await answer.json()).detail ?? `The live feed answered ${answer.status}.`;
  } catch {
    return `The live feed answered ${answer.status}.`;
  }
}

/** @param {AbortSignal} signal @returns {Promise<void>} */
function shown(signal) {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => {
    const look = () => (!document.hidden || signal.aborted) && resolve();
    document.addEventListener("visibilitychange", look, { signal });
    signal.addEventListener("abort", () => resolve());
  });
}

/** @param {number} pause @param {AbortSignal} signal @returns {Promise<void>} */
function rest(pause, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, pause);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()));
  });
}
