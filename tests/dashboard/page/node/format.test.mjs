import assert from "node:assert/strict";
import { test } from "node:test";
import { parse } from "../page/lib/exact.js";
import * as format from "../page/lib/format.js";

const CASES = {
  number: [
    [12345.67, "12,345.7"],
    [null, "–"],
    ["7", "–"],
    [0, "0"],
  ],
  short: [
    [99_999, "99,999"],
    [123_456, "123.5K"],
    [-123_456, "-123.5K"],
  ],
  money: [
    [125, "$1.25"],
    [0, "–"],
    [undefined, "–"],
  ],
  percent: [
    [0, "0%"],
    [0.01, "<0.1%"],
    [9.96, "10.0%"],
    [49.6, "50%"],
    [null, "–"],
  ],
  bytes: [
    [1_023, "1023 B"],
    [1_536, "1.5 KiB"],
    [5 * 1024 ** 2, "5 MiB"],
  ],
  duration: [
    [0, "0 ms"],
    [0.44, "0.4 ms"],
    [320, "320 ms"],
    [4_200, "4.2 s"],
    [200_000, "3 m 20 s"],
    [7_500_000, "2 h 5 m"],
    [273_600_000, "3 d 4 h"],
    [NaN, "–"],
  ],
};

for (const [name, cases] of Object.entries(CASES))
  for (const [value, text] of cases)
    test(`${name} of ${value} is ${text}`, () => assert.equal(format[name](value), text));

const UUID = "0198c8f0-0000-7000-8000-0000000000aa";
for (const [id, shown] of [
  [UUID, "…000000aa"],
  [UUID.replaceAll("-", ""), "…000000aa"],
  ["newsletter-of-the-month", "newsletter-of-the-month"],
  [`${UUID}-copy`, `${UUID}-copy`],
])
  test(`${id} is shown as ${shown}`, () => assert.equal(format.shortId(id), shown));

for (const name of Object.keys(CASES))
  test(`${name} of a long number is that of the nearest one`, () => {
    const long = parse("20.5000000000000000000001");
    assert.equal(typeof long, "object");
    assert.equal(format[name](long), format[name](20.5));
    assert.equal(format[name](parse("1e400")), "–");
  });
