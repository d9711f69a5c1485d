import assert from "node:assert/strict";
import { test } from "node:test";
import { numberOf, parse, textOf } from "../page/lib/exact.js";

const SHORT = ["0", "-0.0", "1.50", "0.011095900270609436", "9007199254740992", "1e23", "5e-324"];
const LONG = [
  "9007199254740993",
  "-9007199254740993",
  "12345678901234567890123.5",
  "12345678.123456789012",
  "0.1000000000000000055511151231257827",
  "1e400",
  "-1e-400",
  "1234567890123456e-1000",
];

for (const text of SHORT)
  test(`${text} is a number`, () => assert.equal(parse(`[${text}]`)[0], Number(text)));

for (const text of LONG)
  test(`${text} keeps its digits`, () => {
    const [value] = parse(`[${text}]`);
    assert.equal(JSON.stringify([value]), `[${text}]`);
    assert.equal(textOf(value), text);
    assert.equal(numberOf(value), Number(text));
  });

test("only numbers have a number", () => {
  for (const value of [null, undefined, "1", true, {}, [1], { rawJSON: "1" }])
    assert.equal(numberOf(value), null);
});

test("every value has a text", () => {
  const values = [
    ["a", "a"],
    [1.5, "1.5"],
    [true, "true"],
    [null, "null"],
    [[1], "[1]"],
  ];
  values.push([parse('{"toString": 1}'), '{"toString":1}']);
  for (const [value, text] of values) assert.equal(textOf(value), text);
});
