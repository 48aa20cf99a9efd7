// Tools, in every way in which they can be asked for: what comes is a call that can be read, or none.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { client, material, model } from './material.mjs';

for (const choice of ['auto', 'none', 'required', 'named']) {
  for (const streamed of [false, true]) {
    test(`tools: ${choice}, ${streamed ? 'streamed' : 'whole'}`, async () => {
      const asked = {
        model,
        messages: [{ role: 'user', content: 'What is the weather in Bergen tomorrow?' }],
        tools: [material.weather, material.clock],
        tool_choice: choice === 'named' ? { type: 'function', function: { name: 'clock' } } : choice,
        temperature: 0,
        max_tokens: 200,
      };
      const completion = streamed
        ? await client.chat.completions.stream(asked).finalChatCompletion()
        : await client.chat.completions.create(asked);
      const calls = completion.choices[0].message.tool_calls ?? [];
      const names = new Set(calls.map((call) => call.function.name));
      for (const call of calls) assert.equal(typeof JSON.parse(call.function.arguments), 'object');
      if (choice === 'none') assert.equal(calls.length, 0);
      else if (choice === 'named') assert.deepEqual([...names], ['clock']);
      else {
        for (const name of names) assert.ok(['weather', 'clock'].includes(name), name);
        assert.ok(choice === 'auto' || calls.length > 0);
      }
    });
  }
}
