// Which models there are.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { all, client } from "./gateway.mjs";

const openai = client();

test("models are those the upstream lists", async () => {
  const found = await all(openai.models.list());
  assert.ok(found.some((model) => model.id === "sim-tools"));
  for (const model of found) {
    assert.equal(model.object, "model");
    assert.equal(typeof model.created, "number");
    assert.equal(typeof model.owned_by, "string");
  }
});

test("a model is shown, and one that is not there is not found", async () => {
  assert.equal((await openai.models.retrieve("sim-fast")).id, "sim-fast");
  await assert.rejects(openai.models.retrieve("gpt-unknown"), OpenAI.NotFoundError);
});
