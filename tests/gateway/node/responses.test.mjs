// The Responses API: waited for, in the background, streamed, dropped and resumed.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { FAST, all, client, jobOf, until } from "./gateway.mjs";

const openai = client();
const SLOW = "sim?tokens=60&rate=60&ttft=0";
const WEATHER = {
  type: "function",
  name: "weather",
  parameters: { type: "object", properties: {} },
  strict: false,
};

const create = (more, options = {}) =>
  openai.responses.create({ model: FAST, input: "hello", ...more }, options);
const textOf = (events) =>
  events
    .filter((event) => event.type === "response.output_text.delta")
    .map((event) => event.delta)
    .join("");

async function some(stream, deltas) {
  const found = [];
  for await (const event of stream) {
    found.push(event);
    if (found.filter((each) => each.type.endsWith("delta")).length === deltas) break;
  }
  return found;
}

test("a response that is waited for comes in one piece", async () => {
  const found = await create({ instructions: "Be brief.", metadata: { who: "me" } });
  const job = await jobOf(found.id);
  assert.equal(found.output_text, job.output_text);
  assert.deepEqual([found.status, found.usage.output_tokens], ["completed", 20]);
  assert.deepEqual([found.metadata, job.metadata], [{ who: "me" }, { who: "me" }]);
  const again = await openai.responses.retrieve(found.id);
  assert.equal(again.output_text, found.output_text);
});

test("a response in the background is polled to its end", async () => {
  const first = await create({ background: true });
  assert.ok(["queued", "in_progress"].includes(first.status));
  const found = await until(async () => {
    const now = await openai.responses.retrieve(first.id);
    return now.status === "completed" && now;
  });
  assert.equal(found.output_text, (await jobOf(first.id)).output_text);
});

test("a response streams to the client's own accumulator", async () => {
  const stream = openai.responses.stream({ model: "sim-reasoning?rate=0", input: "hello" });
  const events = await all(stream);
  const found = await stream.finalResponse();
  assert.equal(textOf(events), found.output_text);
  assert.deepEqual(found.output.map((item) => item.type), ["reasoning", "message"]);
});

test("a dropped connection is resumed without a gap", async () => {
  const stream = await create({ model: SLOW, background: true, stream: true });
  const seen = await some(stream, 10);
  const id = seen[0].response.id;
  for (const deltas of [10, Infinity]) {
    const starting_after = seen.at(-1).sequence_number;
    seen.push(
      ...(await some(await openai.responses.retrieve(id, { stream: true, starting_after }), deltas)),
    );
  }
  const numbers = seen.map((event) => event.sequence_number);
  assert.deepEqual(numbers, [...new Set(numbers)].sort((one, other) => one - other));
  assert.equal(seen.at(-1).type, "response.completed");
  assert.equal(textOf(seen), (await jobOf(id)).output_text);
});

test("the client's own accumulator resumes a response", async () => {
  const first = await some(await create({ model: SLOW, background: true, stream: true }), 5);
  const { id } = first[0].response;
  const stream = openai.responses.stream({
    response_id: id,
    starting_after: first.at(-1).sequence_number,
  });
  await all(stream);
  assert.equal((await stream.finalResponse()).output_text, (await jobOf(id)).output_text);
});

test("text that was shown and is void is closed as incomplete", async () => {
  const model = "sim?tokens=30&rate=300&ttft=0&fault=cut-eof&vary=1&key=node-void";
  const stream = openai.responses.stream({ model, input: "hello" });
  const events = await all(stream);
  const done = events.filter((event) => event.type === "response.output_item.done");
  assert.deepEqual(done.map((event) => event.item.status), ["incomplete", "completed"]);
  const found = await stream.finalResponse();
  assert.equal(found.output_text, (await jobOf(found.id)).output_text);
});

test("a tool is called and its output is answered", async () => {
  const asked = { model: "sim-tools?rate=0", tools: [WEATHER] };
  const first = await create(asked);
  const [call] = first.output;
  assert.deepEqual([call.type, call.name], ["function_call", "weather"]);
  const second = await create({
    previous_response_id: first.id,
    input: [{ type: "function_call_output", call_id: call.call_id, output: "rain" }],
  });
  assert.equal(second.status, "completed");
  const items = await all(openai.responses.inputItems.list(second.id, { order: "asc" }));
  assert.deepEqual(
    items.map((item) => item.type),
    ["message", "function_call", "function_call_output"],
  );
});

test("a cancelled response says so to its stream and ever after", async () => {
  const model = "sim?tokens=5000&rate=20&ttft=0";
  const stream = await create({ model, background: true, stream: true });
  let last;
  let id;
  for await (const event of stream) {
    id ??= event.response.id;
    last = event;
    if (event.type === "response.output_text.delta") {
      assert.equal((await openai.responses.cancel(id)).status, "cancelled");
    }
  }
  assert.deepEqual([last.type, last.response.status], ["response.incomplete", "cancelled"]);
  assert.equal((await openai.responses.retrieve(id)).status, "cancelled");
});

test("a deleted response is gone", async () => {
  const { id } = await create({});
  await openai.responses.delete(id);
  await assert.rejects(openai.responses.retrieve(id), OpenAI.NotFoundError);
  await assert.rejects(create({ previous_response_id: id }), (error) => {
    assert.equal(error.code, "previous_response_not_found");
    return true;
  });
});

test("a failure raises what the upstream said", async () => {
  await assert.rejects(create({ model: "sim?fault=context-length" }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.equal(error.code, "context_length_exceeded");
    assert.equal(error.headers.get("x-should-retry"), "false");
    return true;
  });
});

for (const [given, param] of [
  [{ tools: [{ type: "web_search" }] }, "tools[0].type"],
  [{ conversation: "conv_1" }, "conversation"],
  [{ truncation: "auto" }, "truncation"],
  [{ reasoning: { summary: "auto" } }, "reasoning.summary"],
]) {
  test(`what a chat cannot do is refused by name, ${param}`, async () => {
    await assert.rejects(create(given), (error) => {
      assert.ok(error instanceof OpenAI.BadRequestError);
      assert.deepEqual([error.param, error.code], [param, "unsupported_parameter"]);
      return true;
    });
  });
}
