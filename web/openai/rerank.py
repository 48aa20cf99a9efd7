"""/v1/rerank: documents put in the order in which they answer a query, by the library's reranker or one of the folder.

Not OpenAI's: the shape is the one that Cohere, Jina and the clients of local
engines share. The library's own reads a document that is too long from its
beginning; the engine of the others refuses it.
"""

import math
import uuid
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import Request, Response, post
from litestar.datastructures import State
from litestar.params import Body
from msgspec import Meta

from library.errors import InvalidRequest
from llm.model_files.architectures import JUDGE_IN_SHARES
from llm.serving.queue import Reader
from llm.serving.served import ServedModel
from search.reranker import MAX_QUERY_CHARACTERS
from web.api import require_json
from web.batching import Batching, in_turns
from web.house import House
from web.leaving import unless_gone
from web.openai.described import described
from web.openai.models import ModelKind, asked_file, asked_model, reranker_id
from web.openai.parameters import ignored, parameters
from web.openai.shapes import Ranking
from web.waiting import reader_of

if TYPE_CHECKING:
    from llm.engines.engine import Engine

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
    named = asked.model or reranker_id(house)
    if named is None:
        raise InvalidRequest(
            "model", "must name a reranker of the models folder: the library has none (`search.reranker`)."
        )
    await asked_model(house, named, ModelKind.RERANKING)
    model = asked_file(house, named, reranker_id(house))
    texts = [one if isinstance(one, str) else one.text for one in asked.documents]
    if model is None:
        work = _read(house, state.batching, asked.query, texts)
    else:
        work = _judged_by(model, house, reader_of(request), asked.query, texts)
    scores, tokens = await unless_gone(request, work)
    best = sorted(range(len(texts)), key=lambda at: (-scores[at], at))[: asked.top_n]
    share = float if model and _in_shares(house, model) else _share
    results: list[dict[str, Any]] = [{"index": at, "relevance_score": share(scores[at])} for at in best]
    if asked.return_documents:
        for result in results:
            result["document"] = {"text": texts[result["index"]]}
    return Response(
        {
            "id": f"rerank-{uuid.uuid4().hex}",
            "object": "list",
            "model": model.id if model else reranker_id(house),
            "results": results,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        },
        headers=ignored(data, RerankParameters.__struct_fields__),
    )


async def _judged_by(
    model: ServedModel, house: House, reader: Reader, query: str, texts: list[str]
) -> tuple[list[float], int]:
    async def judged(engine: "Engine", at: int, text: str) -> tuple[float, int]:
        try:
            return await engine.judge(query, text)
        except InvalidRequest as error:
            raise InvalidRequest(
                f"documents[{at}]" if error.parameter == "documents" else error.parameter, error.problem
            ) from error

    made = await in_turns(
        judged, texts, model=model, reader=reader, batch=_BATCH, precedence=house.precedence
    )
    return [score for score, _ in made], sum(tokens for _, tokens in made)


async def _read(house: House, batching: Batching, query: str, texts: list[str]) -> tuple[list[float], int]:
    reranker = house.retriever.reranker
    assert reranker is not None

    def read(some: Any) -> list[tuple[float, int]]:
        scores = reranker.scores(query, some)
        return [
            (score, reranker.count_tokens(query, [text])) for score, text in zip(scores, some, strict=True)
        ]

    pairs = await batching.run(read, texts, batch=_BATCH, precedence=house.precedence)
    return [score for score, _ in pairs], sum(count for _, count in pairs)


def _in_shares(house: House, model: ServedModel) -> bool:
    card = house.model_files.of_file(model.file).card if model.file else None
    return card is not None and card.architecture in JUDGE_IN_SHARES


def _share(score: float) -> float:
    """0..1 of the model's own number: its logistic, which is how these models are trained to be read."""
    if score < 0:
        return math.exp(score) / (1 + math.exp(score))
    return 1 / (1 + math.exp(-score))
