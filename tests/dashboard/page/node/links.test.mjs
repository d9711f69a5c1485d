import assert from "node:assert/strict";
import { test } from "node:test";
import { linksOf } from "../page/run/links.js";

const step = (node_id, input_data, output_data = {}) => ({ node_id, input_data, output_data });
const pairs = (steps) => linksOf(steps).links.map(({ from, to }) => `${from}>${to}`);

test("a value that one node gave out leads to the step that took it", () => {
  assert.deepEqual(pairs([step("a", {}, { text: ["hello"] }), step("b", { text: "hello" })]), [
    "a>b",
  ]);
});

test("a value of several nodes, a short one, and one of the node itself lead nowhere", () => {
  const same = { text: ["hello"] };
  assert.deepEqual(
    pairs([step("a", {}, same), step("b", {}, same), step("c", { x: "hello" })]),
    [],
  );
  assert.deepEqual(pairs([step("a", {}, { n: [7] }), step("b", { n: 7 })]), []);
  assert.deepEqual(pairs([step("a", { text: "hello" }, same)]), []);
});

test("documents are compared as a whole", () => {
  const document = { a: [1, 2] };
  assert.deepEqual(pairs([step("a", {}, { it: [document] }), step("b", { it: document })]), [
    "a>b",
  ]);
});

test("beyond so many values it is partial", () => {
  const many = Array.from({ length: 20_001 }, (_, index) => `value ${index}`);
  assert.equal(linksOf([step("a", {}, { many })]).isPartial, true);
});
