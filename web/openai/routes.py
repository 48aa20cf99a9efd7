"""The OpenAI API: what lets any client that speaks it use the library, the bare models and the search's own.

`almanac` answers from the whole library, `almanac:{shelf}` from one shelf; the
chat model's own id is the model alone; the models that search with are there
for whoever builds a search of their own. One module for each endpoint. Its
hard rule: every documented parameter is honoured, or named in the header
`almanac-ignored`, or refused by its name.
"""

from web.openai import (
    chat,
    completions,
    embeddings,
    models,
    rerank,
    responses,
)

ROUTES = (
    models.models,
    models.model,
    chat.chat_completions,
    completions.completions,
    embeddings.embeddings,
    rerank.rerank,
    responses.responses,
)
