import assert from "node:assert/strict";
import { test } from "node:test";
import { frames } from "../page/lib/stream.js";

async function read(...chunks) {
  const bytes = chunks.map((chunk) => new TextEncoder().encode(chunk));
  const body = new ReadableStream({
    start(controller) {
      for (const chunk of bytes) controller.enqueue(chunk);
      controller.close();
    },
  });
  const found = [];
  for await (const frame of frames(body)) found.push(frame);
  return found;
}

test("frames are read however they are cut", async () => {
  const text = 'id: 7\nevent: event\ndata: {"a":\ndata: 1}\n\n: heartbeat\n\ndata: é\r\n\r\n';
  const expected = [
    { id: "7", event: "event", data: '{"a":\n1}' },
    { event: "message", data: "é" },
  ];
  assert.deepEqual(await read(text), expected);
  assert.deepEqual(await read(...text), expected);
});

test("a frame without its end is not shown", async () => {
  assert.deepEqual(await read("data: 1\n"), []);
});
