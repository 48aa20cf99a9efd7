"""What litellm is for, done against Almanac; runs in litellm's environment and knows nothing of the tests."""

import json
import os

import litellm

litellm.telemetry = False
litellm.suppress_debug_info = True  # it prints advice beside what it is asked for
ALMANAC = {"api_base": os.environ["ALMANAC_BASE_URL"], "api_key": "none needed"}
# litellm goes by the word before the slash, and sends what follows it as the model.
LIBRARY, MODEL = "openai/almanac:garden", f"openai/{os.environ['ALMANAC_MODEL']}"
EMBEDDING = f"openai/{os.environ['ALMANAC_EMBEDDING']}"
ASKED = {"messages": [{"role": "user", "content": os.environ["ALMANAC_QUESTION"]}], "max_tokens": 40}

told = {"chats": {}, "streams": {}, "errors": []}
for model in (LIBRARY, MODEL):
    whole = litellm.completion(model=model, temperature=0, **ASKED, **ALMANAC)
    told["chats"][model] = whole.choices[0].message.content
    stream = litellm.completion(model=model, temperature=0, stream=True, **ASKED, **ALMANAC)
    told["streams"][model] = [chunk.choices[0].delta.content or "" for chunk in stream]
made = litellm.embedding(model=EMBEDDING, input=["a jar of water", "a stove"], **ALMANAC)
told["dimensions"] = [len(entry["embedding"]) for entry in made.data]
try:
    litellm.completion(model="openai/gpt-9", num_retries=0, **ASKED, **ALMANAC)
except litellm.NotFoundError as error:
    told["errors"].append(error.status_code)
print(json.dumps(told))
