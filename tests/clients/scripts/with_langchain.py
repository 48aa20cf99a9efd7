"""What langchain-openai is for, done against Almanac; runs in its environment and knows nothing of the tests."""

import json
import os

import openai
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

ALMANAC = {"base_url": os.environ["ALMANAC_BASE_URL"], "api_key": "none needed"}
LIBRARY, MODEL = "almanac:garden", os.environ["ALMANAC_MODEL"]
QUESTION = os.environ["ALMANAC_QUESTION"]

told = {"chats": {}, "streams": {}, "errors": []}
for model in (LIBRARY, MODEL):
    chat = ChatOpenAI(model=model, temperature=0, max_tokens=40, max_retries=0, **ALMANAC)
    told["chats"][model] = chat.invoke(QUESTION).content
    told["streams"][model] = [chunk.content for chunk in chat.stream(QUESTION)]
# Without the check it sends texts. With it, token ids of OpenAI's, for which it fetches a vocabulary from the network.
embeddings = OpenAIEmbeddings(
    model=os.environ["ALMANAC_EMBEDDING"], check_embedding_ctx_length=False, **ALMANAC
)
made = [*embeddings.embed_documents(["a jar of water", "a stove"]), embeddings.embed_query("water")]
told["dimensions"] = [len(vector) for vector in made]
try:
    ChatOpenAI(model="gpt-9", max_retries=0, **ALMANAC).invoke(QUESTION)
except openai.NotFoundError as error:
    told["errors"].append(error.status_code)
print(json.dumps(told))
