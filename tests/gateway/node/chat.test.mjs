// Chat completions by the client that most Node services have.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { FAST, HELLO, all, asked, client, jobOf, native, until } from "./gateway.mjs";

const openai = client();
const WEATHER = {
  type: "function",
  function: { name: "weather", parameters: { type: "object", properties: {} } },
};

const create = (model, more = {}, options = {}) =>
  openai.chat.completions.create({ model, messages: HELLO, ...more }, options);
const contentOf = (chunks, choice = 0) =>
  chunks
    .flatMap((chunk) => chunk.choices)
    .filter((each) => each.index === choice)
    .map((each) => each.delta.content ?? "")
    .join("");

test("a completion comes in one piece", async () => {
  const { data, response } = await create(FAST).withResponse();
  const job = await jobOf(data.id);
  assert.equal(response.headers.get("x-deltaworks-job"), job.id);
  assert.equal(data.choices[0].message.content, job.output_text);
  assert.equal(data.choices[0].finish_reason, "stop");
  assert.equal(data.usage.completion_tokens, 20);
  assert.equal(data.object, "chat.completion");
});

test("a completion streams as it is made", async () => {
  const chunks = await all(await create("sim?tokens=30&rate=30", { stream: true }));
  assert.ok(chunks.length > 5);
  assert.equal(contentOf(chunks), (await jobOf(chunks[0].id)).output_text);
  assert.equal(chunks[0].choices[0].delta.role, "assistant");
  assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
});

test("usage comes last where it was asked for", async () => {
  const stream = await create(FAST, { stream: true, stream_options: { include_usage: true } });
  const last = (await all(stream)).at(-1);
  assert.deepEqual(last.choices, []);
  assert.equal(last.usage.completion_tokens, 20);
});

test("several choices each keep their text", async () => {
  const chunks = await all(await create(FAST, { n: 2, stream: true }));
  const { output } = await jobOf(chunks[0].id);
  assert.deepEqual(
    output.map((said) => said.content),
    [contentOf(chunks, 0), contentOf(chunks, 1)],
  );
  assert.notEqual(output[0].content, output[1].content);
  const whole = await create(FAST, { n: 2 });
  assert.deepEqual(whole.choices.map((choice) => choice.index), [0, 1]);
});

test("tool calls come whole and in pieces", async () => {
  const model = "sim?tools=1&rate=0&ttft=0";
  const whole = await create(model, { tools: [WEATHER] });
  const [call] = whole.choices[0].message.tool_calls;
  assert.equal(call.function.name, "weather");
  JSON.parse(call.function.arguments);
  assert.equal(whole.choices[0].finish_reason, "tool_calls");
  const stream = openai.chat.completions.stream({ model, messages: HELLO, tools: [WEATHER] });
  const [same] = (await stream.finalChatCompletion()).choices[0].message.tool_calls;
  assert.equal(same.function.arguments, call.function.arguments);
});

test("the client's own accumulator ends up with what is saved", async () => {
  const stream = openai.chat.completions.stream({ model: FAST, messages: HELLO });
  const deltas = [];
  stream.on("content", (delta) => deltas.push(delta));
  const final = await stream.finalChatCompletion();
  assert.equal(deltas.join(""), final.choices[0].message.content);
  assert.equal(deltas.join(""), (await jobOf(final.id)).output_text);
});

for (const stream of [false, true]) {
  test(`a refusal of the upstream is the answer, stream ${stream}`, async () => {
    const model = `sim?fault=context-length&times=all&key=node${stream}`;
    await assert.rejects(create(model, { stream }), (error) => {
      assert.ok(error instanceof OpenAI.BadRequestError);
      assert.deepEqual([error.status, error.code], [400, "context_length_exceeded"]);
      assert.equal(error.headers.get("x-should-retry"), "false");
      return true;
    });
    assert.equal(await asked(model), 1);
  });

  test(`what is retried before any text is not noticed, stream ${stream}`, async () => {
    const model = `sim?tokens=10&rate=0&ttft=0&fault=status-500&times=2&key=node${stream}`;
    const found = await create(model, { stream });
    const chunks = stream ? await all(found) : [];
    const text = stream ? contentOf(chunks) : found.choices[0].message.content;
    const job = await jobOf(stream ? chunks[0].id : found.id);
    assert.deepEqual([job.output_text, job.failures], [text, 2]);
  });
}

test("an attempt given up after text was shown ends the stream with an error", async () => {
  const model = "sim?tokens=20&rate=100&fault=cut-rst&times=1&key=node-shown&vary=1";
  const stream = await create(model, { stream: true });
  const chunks = [];
  const reading = (async () => {
    for await (const chunk of stream) chunks.push(chunk);
  })();
  const error = await reading.then(() => assert.fail("no error"), (raised) => raised);
  assert.ok(error instanceof OpenAI.APIError);
  assert.equal(error.code, "attempt_given_up");
  assert.ok(contentOf(chunks));
  const events = await (await native(error.error.resume)).text();
  assert.match(events, /event: completed/);
  const job = await jobOf(error.error.job);
  assert.deepEqual([job.state, job.failures], ["completed", 1]);
});

test("with hold only text that stands is shown", async () => {
  const model = "sim?tokens=20&rate=100&fault=cut-rst&times=1&key=node-held&vary=1";
  const headers = { "x-deltaworks-hold": "true" };
  const chunks = await all(await create(model, { stream: true }, { headers }));
  const job = await jobOf(chunks[0].id);
  assert.deepEqual([contentOf(chunks), job.failures], [job.output_text, 1]);
});

test("a client that loses patience raises its own timeout", async () => {
  const options = { timeout: 500, maxRetries: 0 };
  await assert.rejects(create("sim?ttft=5", {}, options), OpenAI.APIConnectionTimeoutError);
});

for (const [said, state] of [
  ["cancel", "cancelled"],
  ["continue", "completed"],
]) {
  test(`a stream that is left says ${said}, and is ${state}`, async () => {
    const headers = { "x-deltaworks-on-disconnect": said };
    const model = `sim?tokens=60&rate=30&ttft=0&key=node-${said}`;
    const stream = await create(model, { stream: true }, { headers });
    let id;
    for await (const chunk of stream) {
      id = chunk.id;
      break;
    }
    await until(async () => (await jobOf(id)).state === state);
  });
}

test("a bad request names its field", async () => {
  await assert.rejects(create(FAST, { temperature: "hot" }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.equal(error.param, "temperature");
    return true;
  });
});
