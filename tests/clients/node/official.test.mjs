// The official JavaScript client against a running Almanac: what it is for, as a client's author would try it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HELLO, OpenAI, client, embedding, material, model } from './material.mjs';

test('models are listed and each can be retrieved', async () => {
  const ids = [];
  for await (const entry of client.models.list()) {
    ids.push(entry.id);
    assert.deepEqual(await client.models.retrieve(entry.id), entry);
  }
  for (const id of ['almanac', 'almanac:garden', model, embedding]) assert.ok(ids.includes(id), id);
});

for (const of of ['almanac:garden', model]) {
  test(`a chat whole and streamed, of ${of === model ? 'the bare model' : 'the library'}`, async () => {
    const asked = {
      model: of,
      messages: [{ role: 'user', content: material.question }],
      max_tokens: 40,
      temperature: 0,
    };
    const whole = await client.chat.completions.create(asked);
    const stream = client.chat.completions.stream({ ...asked, stream_options: { include_usage: true } });
    let said = '';
    let pieces = 0;
    stream.on('content', (delta) => {
      said += delta;
      pieces += 1;
    });
    const final = await stream.finalChatCompletion();
    assert.ok(whole.choices[0].message.content);
    assert.equal(said, whole.choices[0].message.content);
    assert.ok(pieces > 1);
    assert.equal(final.choices[0].finish_reason, whole.choices[0].finish_reason);
    assert.equal(final.usage.total_tokens, whole.usage.total_tokens);
  });
}

test('a JSON schema, whole and streamed', async () => {
  const asked = {
    model,
    messages: [{ role: 'user', content: 'Which colour has the sky?' }],
    response_format: material.colour,
    temperature: 0,
    max_tokens: 100,
  };
  const whole = await client.chat.completions.parse(asked);
  const final = await client.chat.completions.stream(asked).finalContent();
  const found = JSON.parse(whole.choices[0].message.content);
  assert.deepEqual(JSON.parse(final), found);
  assert.deepEqual(Object.keys(found).sort(), ['bright', 'colour']);
  assert.ok(['red', 'blue'].includes(found.colour));
});

test('embeddings, which the client asks for in base64', async () => {
  const input = ['a jar of water', 'a stove'];
  const made = await client.embeddings.create({ model: embedding, input });
  const plain = await client.embeddings.create({ model: embedding, input, encoding_format: 'float' });
  made.data.forEach((entry, at) => {
    assert.equal(entry.embedding.length, 384);
    entry.embedding.forEach((number, n) => {
      assert.ok(Math.abs(number - plain.data[at].embedding[n]) < 1e-6);
    });
  });
});

for (const of of ['almanac:garden', model]) {
  test(`a response whole and streamed, of ${of === model ? 'the bare model' : 'the library'}`, async () => {
    const asked = { model: of, input: material.question, max_output_tokens: 40, temperature: 0 };
    const whole = await client.responses.create(asked);
    const stream = client.responses.stream(asked);
    let said = '';
    stream.on('response.output_text.delta', (event) => {
      said += event.delta;
    });
    const final = await stream.finalResponse();
    assert.ok(whole.output_text);
    assert.equal(said, whole.output_text);
    assert.equal(final.output_text, whole.output_text);
    assert.equal(final.status, whole.status);
  });
}

test('a completion of the old kind, whole and streamed', async () => {
  const asked = { model, prompt: 'Water is', max_tokens: 6, temperature: 0 };
  const whole = await client.completions.create(asked);
  let said = '';
  for await (const chunk of await client.completions.create({ ...asked, stream: true })) {
    said += chunk.choices[0].text;
  }
  assert.ok(said);
  assert.equal(said, whole.choices[0].text);
});

test("mistakes come as the client's own exceptions", async () => {
  const refused = (more) => client.chat.completions.create({ model, messages: HELLO, ...more });
  await assert.rejects(refused({ temperature: 9 }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.deepEqual([error.status, error.param, error.type], [400, 'temperature', 'invalid_request_error']);
    return true;
  });
  const long = [{ role: 'user', content: 'water '.repeat(6000) }];
  await assert.rejects(refused({ messages: long }), OpenAI.BadRequestError);
  await assert.rejects(refused({ model: 'gpt-9', stream: true }), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.equal(error.code, 'model_not_found');
    return true;
  });
  await assert.rejects(client.models.retrieve('gpt-9'), OpenAI.NotFoundError);
  await assert.rejects(client.embeddings.create({ model: embedding, input: '' }), OpenAI.BadRequestError);
});

test('a stream can be left in the middle', async () => {
  const asked = { model, messages: HELLO, max_tokens: 3000, ignore_eos: true, stream: true };
  const stream = await client.chat.completions.create(asked);
  for await (const chunk of stream) {
    assert.ok(chunk.choices);
    break;
  }
  stream.controller.abort();
  const response = await client.responses.create({
    model,
    input: 'Count to a thousand.',
    max_output_tokens: 3000,
    stream: true,
  });
  for await (const event of response) {
    assert.equal(event.type, 'response.created');
    break;
  }
});
