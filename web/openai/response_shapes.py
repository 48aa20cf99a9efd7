"""Shapes of /v1/responses: what a response and the events of its stream look like. Pure, as `web.openai.shapes`."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from web.openai.shapes import Cited, OfLibrary, Shape


class ResponseAnnotation(Cited, frozen=True):
    type: Literal["url_citation"]
    start_index: int
    end_index: int
    url: str


class OutputText(Shape, frozen=True, tag_field="type", tag="output_text"):
    text: str
    annotations: list[ResponseAnnotation]
    logprobs: list[Any]


class MessageItem(Shape, frozen=True, tag_field="type", tag="message"):
    id: str
    role: Literal["assistant"]
    status: Literal["in_progress", "completed", "incomplete"]
    content: list[OutputText]


class ReasoningText(Shape, frozen=True, tag_field="type", tag="reasoning_text"):
    text: str


class ReasoningItem(Shape, frozen=True, tag_field="type", tag="reasoning"):
    id: str
    status: Literal["in_progress", "completed"]
    summary: list[Any]
    content: list[ReasoningText]


class ResponseFault(Shape, frozen=True):
    code: str
    message: str


class WhyIncomplete(Shape, frozen=True):
    reason: Literal["max_output_tokens"]


class InputTokens(Shape, frozen=True):
    cached_tokens: int
    cache_write_tokens: int


class OutputTokens(Shape, frozen=True):
    reasoning_tokens: int


class ResponseTokens(Shape, frozen=True):
    input_tokens: int
    input_tokens_details: InputTokens
    output_tokens: int
    output_tokens_details: OutputTokens
    total_tokens: int


class ResponseAnswer(Shape, frozen=True):
    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    background: Literal[False]
    error: ResponseFault | None
    incomplete_details: WhyIncomplete | None
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    model: str
    output: list[MessageItem | ReasoningItem]
    parallel_tool_calls: bool
    previous_response_id: None
    reasoning: dict[str, str | None]
    store: Literal[False]
    temperature: float | None
    text: dict[str, Any]
    tool_choice: Any
    tools: list[Any]
    top_p: float | None
    truncation: Literal["disabled"]
    usage: ResponseTokens | UnsetType = UNSET
    almanac: OfLibrary | UnsetType = UNSET


class ResponseEvent(Shape, frozen=True):
    """One of `response.created` to `response.completed`; which fields it has goes by its type."""

    type: Annotated[str, Meta(pattern=r"^response\.[a-z_.]+$")]
    sequence_number: int
    response: ResponseAnswer | UnsetType = UNSET
    output_index: int | UnsetType = UNSET
    content_index: int | UnsetType = UNSET
    annotation_index: int | UnsetType = UNSET
    item_id: str | UnsetType = UNSET
    item: MessageItem | ReasoningItem | UnsetType = UNSET
    part: OutputText | UnsetType = UNSET
    annotation: ResponseAnnotation | UnsetType = UNSET
    delta: str | UnsetType = UNSET
    text: str | UnsetType = UNSET
    logprobs: list[Any] | UnsetType = UNSET
