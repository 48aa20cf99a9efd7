"""Shapes of /v1: what its answers look like, as its OpenAPI document tells it.

Pure. The answers themselves are put together where they are written, partly by
the engine; a test compares each with its shape here. Its hard rule: what OpenAI
does not have says so in its description.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from llm.events import AnswerKind
from web.shapes import DocumentShape, PassageShape

_OURS = "Almanac's own, beside what OpenAI has: "
_Timings = Annotated[
    dict[str, float], Meta(description=f"{_OURS}the engine's measurements; of the bare model.")
]
_Thoughts = Annotated[str, Meta(description=f"{_OURS}what the model said to itself, apart from the answer.")]
_Finished = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """A field that may be left out is UNSET; one that may be null is there."""


class Fault(Shape, frozen=True):
    message: str  # a sentence: what happened, then what to do
    type: Literal[
        "invalid_request_error",
        "authentication_error",
        "permission_error",
        "rate_limit_error",
        "server_error",
    ]
    param: Annotated[
        str | None, Meta(description="The path of what is wrong, such as `messages[1].content`.")
    ]
    code: str | None


class ErrorEnvelope(Shape, frozen=True):
    error: Fault


class Model(Shape, frozen=True):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    kind: Literal["library", "chat", "embedding", "rerank"]
    input_modalities: Annotated[
        tuple[Literal["text", "image"], ...] | UnsetType,
        Meta(description=f"{_OURS}what it can be asked with; absent where only another machine knows."),
    ] = UNSET


class ModelList(Shape, frozen=True):
    object: Literal["list"]
    data: list[Model]


# --- what several have -----------------------------------------------------------------------------


class PromptTokens(Shape, frozen=True):
    cached_tokens: int


class TokensUsed(Shape, frozen=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokens | UnsetType = UNSET


class TokensRead(Shape, frozen=True):
    prompt_tokens: int
    total_tokens: int


class Source(Shape, frozen=True):
    n: int
    document: DocumentShape
    passage: PassageShape


class LibraryAnswer(Shape, frozen=True):
    kind: AnswerKind
    written_by: str | None
    sources: list[Source]
    notices: list[str]


OfLibrary = Annotated[
    LibraryAnswer, Meta(description=f"{_OURS}of library models, how it was answered and from what.")
]


class Marked(Shape, frozen=True):
    start_index: int
    end_index: int
    title: str
    url: str


class Cited(Shape, frozen=True):
    n: Annotated[int, Meta(description=f"{_OURS}the number in the text. So are those that follow.")]
    document_id: str
    passage_id: str
    path: str
    title: str
    quote: str
    href: str


class ChatAnnotation(Cited, frozen=True):
    type: Literal["url_citation"]
    url_citation: Marked


# --- /v1/chat/completions --------------------------------------------------------------------------


class OtherToken(Shape, frozen=True):
    token: str
    bytes: list[int] | None
    logprob: float


class TokenLogprob(OtherToken, frozen=True):
    top_logprobs: list[OtherToken]


class ChatLogprobs(Shape, frozen=True):
    content: list[TokenLogprob] | None
    refusal: None


class FunctionCalled(Shape, frozen=True):
    name: str
    arguments: str  # JSON


class ToolCall(Shape, frozen=True):
    id: str
    type: Literal["function"]
    function: FunctionCalled


class ChatAnswer(Shape, frozen=True):
    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    annotations: list[ChatAnnotation] | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET
    reasoning_content: _Thoughts | UnsetType | None = UNSET


class ChatChoice(Shape, frozen=True):
    index: int
    message: ChatAnswer
    logprobs: ChatLogprobs | None
    finish_reason: _Finished


class ChatCompletion(Shape, frozen=True):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: TokensUsed
    system_fingerprint: str | UnsetType = UNSET
    timings: _Timings | UnsetType = UNSET
    almanac: OfLibrary | UnsetType = UNSET


class FunctionPiece(Shape, frozen=True):
    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET


class ToolCallPiece(Shape, frozen=True):
    index: int
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET
    function: FunctionPiece | UnsetType = UNSET


class ChatDelta(Shape, frozen=True):
    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    tool_calls: list[ToolCallPiece] | UnsetType = UNSET
    reasoning_content: _Thoughts | UnsetType | None = UNSET
    annotations: (
        Annotated[
            list[ChatAnnotation], Meta(description=f"{_OURS}in the last chunk of a library model's answer.")
        ]
        | UnsetType
    ) = UNSET


class ChatPiece(Shape, frozen=True):
    index: int
    delta: ChatDelta
    finish_reason: _Finished | None
    logprobs: ChatLogprobs | UnsetType | None = UNSET


class ChatChunk(Shape, frozen=True):
    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatPiece]
    usage: TokensUsed | UnsetType | None = UNSET
    system_fingerprint: str | UnsetType = UNSET
    timings: _Timings | UnsetType = UNSET
    almanac: OfLibrary | UnsetType = UNSET


# --- /v1/completions -------------------------------------------------------------------------------


class TextLogprobs(Shape, frozen=True):
    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(Shape, frozen=True):
    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: _Finished | None  # null until the last chunk of a stream


class TextCompletion(Shape, frozen=True):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: TokensUsed | UnsetType = UNSET  # of a stream: in its last chunk, where it is asked for
    system_fingerprint: str | UnsetType = UNSET
    timings: _Timings | UnsetType = UNSET


# --- /v1/embeddings, /v1/rerank --------------------------------------------------------------------


class Embedding(Shape, frozen=True):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str  # base64 where that was asked for


class EmbeddingList(Shape, frozen=True):
    object: Literal["list"]
    model: str
    data: list[Embedding]
    usage: TokensRead


class RankedText(Shape, frozen=True):
    text: str


class Ranked(Shape, frozen=True):
    index: int
    relevance_score: Annotated[float, Meta(ge=0, le=1)]
    document: RankedText | UnsetType = UNSET


class Ranking(Shape, frozen=True):
    id: str
    object: Literal["list"]
    model: str
    results: list[Ranked]
    usage: TokensRead
