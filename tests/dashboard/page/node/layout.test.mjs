import assert from "node:assert/strict";
import { test } from "node:test";
import { layered } from "../page/run/layout.js";

const link = (from, to) => ({ from, to });

test("a column per step of the way", () => {
  const links = [link("a", "b"), link("a", "c"), link("b", "d"), link("c", "d")];
  assert.deepEqual(layered(["a", "b", "c", "d"], links), [["a"], ["b", "c"], ["d"]]);
});

test("a link against the order moves no node", () => {
  assert.deepEqual(layered(["a", "b"], [link("a", "b"), link("b", "a")]), [["a"], ["b"]]);
});

test("neighbours stand side by side", () => {
  const links = [link("a", "y"), link("b", "x")];
  const [first, second] = layered(["a", "b", "x", "y"], links);
  assert.deepEqual(
    second.map((id) => links.find(({ to }) => to === id).from),
    first,
  );
});

test("no nodes, no columns", () => assert.deepEqual(layered([], []), []));
