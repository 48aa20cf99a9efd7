"""A plug-in for the `llm` command: Almanac's embedding model by its own id.

llm reads chat models of other servers from a file, but knows embedding models
by OpenAI's names only. This one is llm's own class under another name; the
server's address is OPENAI_BASE_URL, which OpenAI's client reads.
"""

import os

from llm.default_plugins.openai_models import OpenAIEmbeddingModel

import llm


@llm.hookimpl
def register_embedding_models(register):
    register(OpenAIEmbeddingModel("almanac-embedding", os.environ["ALMANAC_EMBEDDING"]))
