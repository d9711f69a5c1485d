// Views and their filters live behind the `#`, so that every view is a link and "back" works.

/** `#/runs/<id>?tab=journal` as `{parts: ["runs", "<id>"], parameters}`. */
export function current() {
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return {
    parts: path.split("/").filter(Boolean).map(decodeURIComponent),
    parameters: new URLSearchParams(search),
  };
}

/**
 * The link of a view; parameters without a value are left out.
 *
 * @param {string | string[]} parts
 * @param {Record<string, any>} parameters
 */
export function link(parts, parameters = {}) {
  const path = [parts].flat().map(encodeURIComponent).join("/");
  const pairs = Object.entries(parameters).flatMap(([name, value]) =>
    [value]
      .flat()
      .filter((one) => one !== null && one !== undefined && one !== "")
      .map((one) => [name, one]),
  );
  return `#/${path}${pairs.length ? `?${new URLSearchParams(pairs)}` : ""}`;
}

/** @param {string} hash */
export function go(hash) {
  location.hash = hash;
}

/**
 * Change the address without leaving the view or adding to the history.
 *
 * @param {string} hash
 */
export function replace(hash) {
  history.replaceState(null, "", hash);
}
