// JSON with numbers that may be longer than a double holds: those are kept as they were written, as
// raw JSON. Arithmetic reads any number by `numberOf`, text is made of any value by `textOf`.

// Only then may a number lose something: many digits, or an exponent of three.
const LONG = /\d[\d.]{15}|\d[eE][+-]?\d{3}/;
const NUMBER = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/;

/** Parse; numbers that a double would change become raw JSON, which `JSON.stringify` writes back. */
export function parse(text) {
  if (!LONG.test(text) || typeof JSON.rawJSON !== "function") return JSON.parse(text);
  return JSON.parse(text, (_, value, { source } = {}) =>
    typeof value === "number" && isChanged(value, source) ? JSON.rawJSON(source) : value,
  );
}

/** A number for arithmetic; the nearest one for raw JSON, null for everything that is no number. */
export function numberOf(value) {
  if (typeof value === "number") return value;
  return isRaw(value) ? Number(value.rawJSON) : null;
}

/** Text for people: text as it is, a number with all its digits, anything else as JSON. */
export function textOf(value) {
  return typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
}

const isRaw = (value) =>
  typeof value === "object" && typeof JSON.isRawJSON === "function" && JSON.isRawJSON(value);

/** Whether the shortest text of the double stands for another number than the source. */
function isChanged(value, source) {
  return source !== undefined && decimal(String(value)) !== decimal(source);
}

/** Sign, significant digits and exponent, the same for each way to write a number. */
function decimal(text) {
  const [, sign, whole, fraction = "", power = "0"] = NUMBER.exec(text) ?? [];
  if (whole === undefined) return text; // infinite
  const digits = `${whole}${fraction}`.replace(/^0+/, "");
  const significant = digits.replace(/0+$/, "");
  if (!significant) return "0";
  const exponent = BigInt(power) - BigInt(fraction.length - digits.length + significant.length);
  return `${sign}${significant}e${exponent}`;
}
