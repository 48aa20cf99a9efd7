// A full line before the model: the client's own exception, and when to come back.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HELLO, OpenAI, client, model } from './material.mjs';

for (const stream of [false, true]) {
  test(`too many requests are a RateLimitError, ${stream ? 'streamed' : 'whole'}`, async () => {
    await assert.rejects(client.chat.completions.create({ model, messages: HELLO, stream }), (error) => {
      assert.ok(error instanceof OpenAI.RateLimitError);
      assert.equal(error.type, 'rate_limit_error');
      const seconds = Number(error.headers.get('retry-after'));
      assert.ok(seconds >= 1 && seconds <= 60, String(seconds));
      return true;
    });
  });
}
