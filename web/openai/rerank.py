"""/v1/rerank: documents put in the order in which they answer a query, by the library's own reranker.

Not OpenAI's: the shape is the one that Cohere, Jina and the clients of local
engines share. A document longer than the model reads is read from its beginning.
"""

import math
import uuid
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, post
from litestar.datastructures import State
from litestar.params import Body
from msgspec import Meta

from library.errors import InvalidRequest
from search.reranker import MAX_QUERY_CHARACTERS, Reranker
from web.api import require_json
from web.batching import Batching
from web.house import House
from web.leaving import unless_gone
from web.openai.described import described
from web.openai.models import ModelKind, asked_model, reranker_id
from web.openai.parameters import ignored, parameters
from web.openai.shapes import Ranking

_MOST_DOCUMENTS = 1000
_BATCH = 4  # some 30 ms each, at worst


class _Document(msgspec.Struct, frozen=True):
    text: str


class RerankParameters(msgspec.Struct, frozen=True):
    query: Annotated[str, Meta(min_length=1, max_length=MAX_QUERY_CHARACTERS)]
    documents: Annotated[list[str | _Document], Meta(min_length=1, max_length=_MOST_DOCUMENTS)]
    model: str | None = None
    top_n: Annotated[int, Meta(ge=1)] | None = None
    return_documents: bool | None = None


@post("/v1/rerank", status_code=200, operation_class=described(RerankParameters, Ranking))
async def rerank(
    request: Request[Any, Any, State], state: State, data: Annotated[dict[str, Any], Body()]
) -> Response[Any]:
    """The documents, best first, each with how well it answers the query (0..1)."""
    require_json(request)
    house: House = state.house
    asked = parameters(data, RerankParameters)
    reranker = house.retriever.reranker
    if reranker is None:
        raise InvalidRequest("model", "needs a reranker, which `search.reranker` names; there is none.")
    if asked.model:
        await asked_model(house, asked.model, ModelKind.RERANKING)
    texts = [one if isinstance(one, str) else one.text for one in asked.documents]
    scores, tokens = await unless_gone(request, _read(house, state.batching, reranker, asked.query, texts))
    best = sorted(range(len(texts)), key=lambda at: (-scores[at], at))[: asked.top_n]
    results: list[dict[str, Any]] = [{"index": at, "relevance_score": _share(scores[at])} for at in best]
    if asked.return_documents:
        for result in results:
            result["document"] = {"text": texts[result["index"]]}
    return Response(
        {
            "id": f"rerank-{uuid.uuid4().hex}",
            "object": "list",
            "model": reranker_id(house),
            "results": results,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        },
        headers=ignored(data, RerankParameters.__struct_fields__),
    )


async def _read(
    house: House, batching: Batching, reranker: Reranker, query: str, texts: list[str]
) -> tuple[list[float], int]:
    def read(some: Any) -> list[tuple[float, int]]:
        scores = reranker.scores(query, some)
        return [
            (score, reranker.count_tokens(query, [text])) for score, text in zip(scores, some, strict=True)
        ]

    pairs = await batching.run(read, texts, batch=_BATCH, precedence=house.precedence)
    return [score for score, _ in pairs], sum(count for _, count in pairs)


def _share(score: float) -> float:
    """0..1 of the model's own number: its logistic, which is how these models are trained to be read."""
    if score < 0:
        return math.exp(score) / (1 + math.exp(score))
    return 1 / (1 + math.exp(-score))
