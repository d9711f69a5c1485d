import assert from "node:assert/strict";
import { test } from "node:test";
import { query } from "../page/lib/api.js";
import { current, link } from "../page/lib/route.js";

test("a link leads to its view and parameters", () => {
  const hash = link(["blocks", "a/b?c#d"], { q: "x&y", none: null, empty: "", status: ["A", "B"] });
  globalThis.location = { hash };
  const { parts, parameters } = current();
  assert.deepEqual(parts, ["blocks", "a/b?c#d"]);
  assert.deepEqual(
    [...parameters],
    [
      ["q", "x&y"],
      ["status", "A"],
      ["status", "B"],
    ],
  );
});

test("a query leaves out what has no value", () => {
  assert.equal(query({ a: 1, b: [2, 3], c: null, d: undefined, e: "" }), "?a=1&b=2&b=3");
  assert.equal(query({}), "");
});
