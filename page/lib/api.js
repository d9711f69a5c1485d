// Calls of the HTTP API. A refused or failed call throws `Problem`, with a text for people.

import { parse } from "./exact.js";

const TOKEN = "execstream-token";

/** The server refused: `status` (0: it did not answer), `body` as it came. */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail ?? body.title ?? `The server answered ${status}.`);
    this.status = status;
    this.body = body;
  }

  /** The server is older than this page, or built without this part. */
  get isMissing() {
    return this.status === 404 || this.status === 405 || this.status === 501;
  }
}

/** Kept for this tab only. */
export function keepToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

/** Notify the frame that a token is missing, or that the one sent is not accepted. */
export function wantToken(sent) {
  const isOld = sent.Authorization !== authorization().Authorization; // one was given meanwhile
  if (!isOld) dispatchEvent(new Event("token-wanted"));
}

export function authorization() {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** `{"a": 1, "b": [2, 3], "c": null}` as `?a=1&b=2&b=3`. */
export function query(parameters) {
  const pairs = Object.entries(parameters).flatMap(([name, value]) =>
    [value]
      .flat()
      .filter((one) => one !== null && one !== undefined && one !== "")
      .map((one) => [name, one]),
  );
  return pairs.length ? `?${new URLSearchParams(pairs)}` : "";
}

export async function get(path, parameters = {}, { signal } = {}) {
  return call(path + query(parameters), { signal });
}

export async function post(path, body, headers = {}) {
  return call(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
}

/** Send a command of the contract and wait a little for its outcome. */
export async function send(command) {
  return post("/v1/commands", command, { Prefer: "wait=5" });
}

async function call(path, { headers = {}, ...options }) {
  const token = authorization();
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: { ...token, ...headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: "The server does not answer." });
  }
  const text = await answer.text();
  if (answer.ok) return parse(text);
  if (answer.status === 401) wantToken(token);
  throw new Problem(answer.status, problemOf(text));
}

function problemOf(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}
