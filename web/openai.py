"""The OpenAI API: what lets any client that speaks it use the library, the bare models and the search's own.

`almanac` answers from the whole library, `almanac:{shelf}` from one shelf; the
chat model's own id is the model alone; the models that search with are there
for whoever builds a search of their own. One module for each endpoint. Its
hard rule: every documented parameter is honoured, or named in the header
`almanac-ignored`, or refused by its name.
"""

from web import (
    openai_chat,
    openai_completions,
    openai_embeddings,
    openai_models,
    openai_rerank,
    openai_responses,
)

ROUTES = (
    openai_models.models,
    openai_models.model,
    openai_chat.chat_completions,
    openai_completions.completions,
    openai_embeddings.embeddings,
    openai_rerank.rerank,
    openai_responses.responses,
)
