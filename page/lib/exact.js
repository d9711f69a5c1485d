// JSON whose numbers may be longer than a double holds: those are kept as they were written.

const LONG = /\d{16}/;

/** Parse; numbers that a double would change become raw JSON, which `JSON.stringify` writes back. */
export function parse(text) {
  if (!LONG.test(text) || typeof JSON.rawJSON !== "function") return JSON.parse(text);
  return JSON.parse(text, (_, value, { source } = {}) =>
    typeof value === "number" && isChanged(value, source) ? JSON.rawJSON(source) : value,
  );
}

function isChanged(value, source = "") {
  const digits = source.replace(/[eE].*$/, "").replace(/\D/g, "").length;
  return digits > 17 || (Number.isInteger(value) && !Number.isSafeInteger(value));
}
