import { StreamRefused } from "./errors.js";
import type { Event } from "./messages/event.js";

const FIRST_PAUSE = 500; // milliseconds, doubled up to the last
const LAST_PAUSE = 10_000;
const SILENCE = 40_000; // milliseconds without even a heartbeat: the connection is dead

export interface StreamOptions {
  /** Address of the HTTP server, such as `http://localhost:8000`. */
  url: string;
  token?: string;
  /** Any of them; none: everything that the token may read. */
  graphExecId?: string;
  graphId?: string;
  userId?: string;
  /** The cursor of the last frame that was handled: everything after it follows. */
  after?: string;
  signal?: AbortSignal;
}

/** A frame of the stream; store `cursor` once it is handled, to go on from there. */
export type Frame =
  | { kind: "event"; cursor: string; data: Event }
  | { kind: "snapshot" | "alert" | "resync"; cursor: string; data: unknown };

/**
 * Follow `GET /v1/stream`, until the signal is aborted.
 *
 * After an interruption it goes on behind the last frame: each event comes once, in order within a
 * run.
 *
 * @throws StreamRefused the server refuses it, and will again: a wrong token, an unknown parameter.
 */
export async function* follow(options: StreamOptions): AsyncGenerator<Frame> {
  let cursor = options.after;
  let pause = FIRST_PAUSE;
  while (!options.signal?.aborted) {
    try {
      for await (const frame of connection(options, cursor)) {
        pause = FIRST_PAUSE;
        cursor = frame.cursor;
        yield frame;
      }
    } catch (error) {
      if (!passes(error)) throw error;
    }
    await rest(pause, options.signal);
    pause = Math.min(pause * 2, LAST_PAUSE);
  }
}

/** Whether it may go by itself: of `fetch` an outage is a TypeError, and silence an AbortError. */
function passes(error: unknown): boolean {
  if (error instanceof StreamRefused) return error.status >= 500 || error.status === 429;
  return error instanceof TypeError || (error instanceof Error && error.name === "AbortError");
}

async function* connection(options: StreamOptions, cursor?: string): AsyncGenerator<Frame> {
  const line = new AbortController();
  const end = () => line.abort();
  options.signal?.addEventListener("abort", end);
  let watchdog = setTimeout(end, SILENCE);
  try {
    const answer = await fetch(addressOf(options), {
      headers: headersOf(options, cursor),
      signal: line.signal,
    });
    if (!answer.ok || !answer.body) throw new StreamRefused(answer.status, await detailOf(answer));
    for await (const block of blocks(answer.body)) {
      clearTimeout(watchdog);
      watchdog = setTimeout(end, SILENCE);
      const frame = frameOf(block);
      if (frame) yield frame;
    }
  } finally {
    clearTimeout(watchdog);
    options.signal?.removeEventListener("abort", end);
    end();
  }
}

function addressOf({ url, graphExecId, graphId, userId }: StreamOptions): URL {
  const address = new URL(`${url.replace(/\/$/, "")}/v1/stream`);
  const wanted = { graph_exec_id: graphExecId, graph_id: graphId, user_id: userId };
  for (const [name, value] of Object.entries(wanted))
    if (value !== undefined) address.searchParams.set(name, value);
  return address;
}

function headersOf({ token }: StreamOptions, cursor?: string): Record<string, string> {
  return {
    Accept: "text/event-stream",
    ...(token !== undefined && { Authorization: `Bearer ${token}` }),
    ...(cursor !== undefined && { "Last-Event-ID": cursor }),
  };
}

async function detailOf(answer: Response): Promise<string> {
  const text = await answer.text();
  try {
    return (JSON.parse(text) as { detail: string }).detail;
  } catch {
    return text;
  }
}

async function* blocks(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let begun: string[] = [];
  let held = ""; // a line break that may be half of the end of a frame
  for await (const chunk of body as unknown as AsyncIterable<Uint8Array>) {
    const text = held + decoder.decode(chunk, { stream: true });
    held = /[^\n]\n$/.test(text) ? "\n" : "";
    const [end = "", ...others] = text.slice(0, text.length - held.length).split("\n\n");
    begun.push(end);
    for (const other of others) {
      yield begun.join("");
      begun = [other];
    }
  }
}

function frameOf(block: string): Frame | undefined {
  const fields = new Map<string, string>();
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) fields.set(line.slice(0, colon), line.slice(colon + 1).replace(/^ /, ""));
  }
  const [kind, cursor, data] = [fields.get("event"), fields.get("id"), fields.get("data")];
  if (kind === undefined || cursor === undefined || data === undefined || kind === "heartbeat") return;
  return { kind, cursor, data: JSON.parse(data) } as Frame;
}

function rest(pause: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, pause);
    signal?.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
