"""/v1/embeddings: texts in, unit vectors out, by the library's own model or one of the models folder.

Texts go in as they are: a prefix that a model wants before queries or passages
is the client's to put there, since nobody here knows which of the two it sends.
"""

import asyncio
import base64
import struct
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from litestar import Request, Response, post
from litestar.datastructures import State
from litestar.params import Body
from msgspec import Meta

from library.errors import InvalidRequest
from llm.serving.queue import Reader
from llm.serving.served import ServedModel
from search.embedder import BATCH
from web.api import require_json
from web.batching import Batching, in_turns
from web.house import House
from web.leaving import unless_gone
from web.openai.described import described
from web.openai.models import ModelKind, asked_file, asked_model, embedding_model_id
from web.openai.parameters import TEXTS, ignored, is_tokens, parameters
from web.openai.shapes import EmbeddingList
from web.waiting import reader_of

if TYPE_CHECKING:
    from llm.engines.engine import Engine

_MOST_INPUTS = 2048  # OpenAI's

_Tokens = list[int]


class EmbeddingParameters(msgspec.Struct, frozen=True):
    model: Annotated[str, Meta(min_length=1)]
    input: Annotated[Any, TEXTS]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None


@post("/v1/embeddings", status_code=200, operation_class=described(EmbeddingParameters, EmbeddingList))
async def embeddings(
    request: Request[Any, Any, State], state: State, data: Annotated[dict[str, Any], Body()]
) -> Response[Any]:
    """The vector of each input."""
    require_json(request)
    house, batching = state.house, state.batching
    asked = parameters(data, EmbeddingParameters)
    await asked_model(house, asked.model, ModelKind.EMBEDDING)
    model = asked_file(house, asked.model, embedding_model_id(house))
    inputs = _inputs(asked.input)
    if model is None:
        _require_whole(asked.dimensions, house.embedder.dimensions)
        vectors, count = await unless_gone(request, _embedded(house, batching, inputs))
    else:
        work = _embedded_by(model, house, reader_of(request), inputs, asked.dimensions)
        vectors, count = await unless_gone(request, work)
    encoded = map(_base64, vectors) if asked.encoding_format == "base64" else vectors
    return Response(
        {
            "object": "list",
            "model": model.id if model else embedding_model_id(house),
            "data": [
                {"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(encoded)
            ],
            "usage": {"prompt_tokens": count, "total_tokens": count},
        },
        headers=ignored(data, EmbeddingParameters.__struct_fields__),
    )


async def _embedded(
    house: House, batching: Batching, inputs: list[str | _Tokens]
) -> tuple[list[list[float]], int]:
    embedder = house.embedder  # taken once: another model may take its place meanwhile
    rows = await asyncio.to_thread(embedder.tokens, inputs)
    most = embedder.card.max_tokens if embedder.card else 0
    for at, row in enumerate(rows):
        if len(row) > most:
            where = "input" if len(rows) == 1 else f"input[{at}]"
            raise InvalidRequest(
                where, f"holds {len(row)} tokens and the model reads {most}. Cut it into shorter texts."
            )
    vectors = await batching.run(embedder.embed_tokens, rows, batch=BATCH, precedence=house.precedence)
    return vectors, sum(map(len, rows))


async def _embedded_by(
    model: ServedModel, house: House, reader: Reader, inputs: list[str | _Tokens], dimensions: int | None
) -> tuple[list[list[float]], int]:
    async def embedded(engine: "Engine", at: int, text: str | _Tokens) -> tuple[list[float], int]:
        try:
            vector, tokens = await engine.embed(text)
        except InvalidRequest as error:
            raise _of_one(error, at, len(inputs)) from error
        _require_whole(dimensions, len(vector))
        return vector, tokens

    made = await in_turns(
        embedded, inputs, model=model, reader=reader, batch=BATCH, precedence=house.precedence
    )
    return [vector for vector, _ in made], sum(tokens for _, tokens in made)


def _of_one(error: InvalidRequest, at: int, of: int) -> InvalidRequest:
    """The engine was asked for one text, and the client asked for several."""
    one_of_several = error.parameter == "input" and of > 1
    return InvalidRequest(f"input[{at}]" if one_of_several else error.parameter, error.problem)


def _require_whole(asked: int | None, dimensions: int) -> None:
    if asked not in (None, dimensions):
        raise InvalidRequest(
            "dimensions", f"must be {dimensions}: a part of this model's vector is no vector of its own."
        )


def _inputs(given: object) -> list[str | _Tokens]:
    """Each text by itself, as text or as token ids. Raises InvalidRequest."""
    alone = isinstance(given, str) or is_tokens(given)
    inputs = [given] if alone else given
    if not isinstance(inputs, list) or not inputs:
        raise InvalidRequest("input", "must be text, a list of texts, or token ids of the model's own.")
    if len(inputs) > _MOST_INPUTS:
        raise InvalidRequest("input", f"holds {len(inputs)} texts, and one request may {_MOST_INPUTS}.")
    for at, one in enumerate(inputs):
        if not (isinstance(one, str) or is_tokens(one)) or not one:
            where = "input" if alone else f"input[{at}]"
            raise InvalidRequest(where, "must be text or a list of token ids, and not empty.")
    return inputs


def _base64(vector: list[float]) -> str:
    """As OpenAI's clients decode it: 32-bit floats, little-endian."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
