// Calls of the HTTP API. A refused or failed call throws `Problem`, with a text for people.

import { parse } from "./exact.js";

const TOKEN = "execstream-token";

/** The server refused: `status` (0: it did not answer), `body` as it came. */
export class Problem extends Error {
  /** @param {number} status @param {{[name: string]: any}} body */
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

/**
 * Kept for this tab only.
 *
 * @param {string} token
 */
export function keepToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

/**
 * Notify the frame that a token is missing, or that the one sent is not accepted.
 *
 * @param {Record<string, string>} sent
 */
export function wantToken(sent) {
  const isOld = sent.Authorization !== authorization().Authorization; // one was given meanwhile
  if (!isOld) dispatchEvent(new Event("token-wanted"));
}

/**
 * The address of a path of this server. It is relative: behind a proxy the server may be below a path.
 *
 * @param {string} path
 */
export const addressOf = (path) => `.${path}`;

/** @returns {Record<string, string>} */
export function authorization() {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/**
 * `{"a": 1, "b": [2, 3], "c": null}` as `?a=1&b=2&b=3`.
 *
 * @param {Record<string, any>} parameters
 */
export function query(parameters) {
  const pairs = Object.entries(parameters).flatMap(([name, value]) =>
    [value]
      .flat()
      .filter((one) => one !== null && one !== undefined && one !== "")
      .map((one) => [name, one]),
  );
  return pairs.length ? `?${new URLSearchParams(pairs)}` : "";
}

/**
 * The parsed answer.
 *
 * @param {string} path
 * @param {Record<string, any>} parameters
 * @param {{signal?: AbortSignal}} options
 * @returns {Promise<any>}
 */
export async function get(path, parameters = {}, { signal } = {}) {
  return call(path + query(parameters), { signal });
}

/**
 * @param {string} path
 * @param {unknown} body
 * @param {Record<string, string>} headers
 * @returns {Promise<any>}
 */
export async function post(path, body, headers = {}) {
  return call(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
}

/**
 * Send a command of the contract and wait a little for its outcome.
 *
 * @param {{type: string, user_id: string, [field: string]: any}} command
 */
export async function send(command) {
  return post("/v1/commands", command, { Prefer: "wait=5" });
}

/**
 * @param {string} path
 * @param {RequestInit & {headers?: Record<string, string>}} options
 */
async function call(path, { headers = {}, ...options }) {
  const token = authorization();
  let answer;
  try {
    answer = await fetch(addressOf(path), { ...options, headers: { ...token, ...headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: "The server does not answer." });
  }
  const text = await answer.text();
  if (answer.ok) return parse(text);
  if (answer.status === 401) wantToken(token);
  throw new Problem(answer.status, problemOf(text));
}

/** @param {string} text */
function problemOf(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}
