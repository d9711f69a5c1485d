// JSON with numbers that may be longer than a double holds: those are kept as they were written, as
// raw JSON. Arithmetic reads any number by `numberOf`, text is made of any value by `textOf`.

// Only then may a number lose something: many digits, or an exponent of three.
const LONG = /\d[\d.]{15}|\d[eE][+-]?\d{3}/;
const NUMBER = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/;

/**
 * Parse; numbers that a double would change become raw JSON, which `JSON.stringify` writes back.
 *
 * @param {string} text
 * @returns {any}
 */
export function parse(text) {
  const { rawJSON } = JSON;
  if (!LONG.test(text) || typeof rawJSON !== "function") return JSON.parse(text);
  /** @param {string} _ @param {any} value @param {{source?: string}} context */
  const revive = (_, value, { source } = {}) =>
    typeof value === "number" && source !== undefined && isChanged(value, source)
      ? rawJSON(source)
      : value;
  return JSON.parse(text, revive);
}

/**
 * A number for arithmetic; the nearest one for raw JSON, null for everything that is no number.
 *
 * @param {unknown} value
 * @returns {number | null}
 */
export function numberOf(value) {
  if (typeof value === "number") return value;
  return isRaw(value) ? Number(value.rawJSON) : null;
}

/** @param {unknown} value */
export const isPositive = (value) => (numberOf(value) ?? 0) > 0;

/**
 * Text for people: text as it is, a number with all its digits, anything else as JSON.
 *
 * @param {unknown} value
 * @returns {string}
 */
export function textOf(value) {
  return typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
}

/**
 * @param {unknown} value
 * @returns {value is {rawJSON: string}}
 */
function isRaw(value) {
  return typeof JSON.isRawJSON === "function" && JSON.isRawJSON(value);
}

/**
 * Whether the shortest text of the double stands for another number than the source.
 *
 * @param {number} value
 * @param {string} source
 */
function isChanged(value, source) {
  return decimal(String(value)) !== decimal(source);
}

/**
 * Sign, significant digits and exponent, the same for each way to write a number.
 *
 * @param {string} text
 */
function decimal(text) {
  const [, sign, whole, fraction = "", power = "0"] = NUMBER.exec(text) ?? [];
  if (whole === undefined) return text; // infinite
  const digits = `${whole}${fraction}`.replace(/^0+/, "");
  const significant = digits.replace(/0+$/, "");
  if (!significant) return "0";
  const exponent = BigInt(power) - BigInt(fraction.length - digits.length + significant.length);
  return `${sign}${significant}e${exponent}`;
}
