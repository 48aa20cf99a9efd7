// The model is killed while it answers, or the house is stopped: the client's own exception, of the status that is expected.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HELLO, OpenAI, client, model } from './material.mjs';

test('who waits for an answer gets an InternalServerError', async () => {
  const asked = { model, messages: HELLO, max_tokens: 3000, ignore_eos: true };
  await assert.rejects(client.chat.completions.create(asked), (error) => {
    assert.ok(error instanceof OpenAI.InternalServerError);
    assert.deepEqual([error.status, error.type], [Number(process.env.ALMANAC_STATUS), 'server_error']);
    return true;
  });
});
