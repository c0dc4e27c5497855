// The gateway under test, and what the tests ask of it besides OpenAI's own client.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import OpenAI from "openai";

const ADDRESS = process.env.GATEWAY;
const RECORD = process.env.RECORD;

export const HELLO = [{ role: "user", content: "hello" }];
export const FAST = "sim?tokens=20&rate=0&ttft=0";

/** OpenAI's own client, but for the address as it is delivered. */
export function client(options = {}) {
  return new OpenAI({ baseURL: `${ADDRESS}/v1`, apiKey: "unused", ...options });
}

/** The answer of the native API. */
export async function native(path) {
  return fetch(`${ADDRESS}${path}`);
}

/** The job behind a completion, a response, or itself. */
export async function jobOf(id) {
  const answer = await native(`/v1/jobs/${id.replace(/^(chatcmpl-|resp_)/, "job_")}`);
  assert.equal(answer.status, 200);
  return answer.json();
}

/** How often the upstream was asked for this model. */
export async function asked(model) {
  const { data } = await (await fetch(RECORD)).json();
  return data.filter((served) => served.model === model).length;
}

/** Wait for what something else brings about; its value. */
export async function until(condition) {
  for (const deadline = Date.now() + 20_000; ; await sleep(20)) {
    const found = await condition();
    if (found) return found;
    assert.ok(Date.now() < deadline, `not within 20 s: ${condition}`);
  }
}

/** All that an asynchronous iterable has. */
export async function all(iterable) {
  const found = [];
  for await (const item of iterable) found.push(item);
  return found;
}
