"""The model's side of a response: which conversation, with tools or without, a request comes to."""

from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import TYPE_CHECKING

from llm.answering.consulting import ConsultingEvent
from llm.serving.served import ServedModel
from llm.tools.calling import words
from llm.tools.prompt import plainly, speaks_of_calls
from web.house import House
from web.openai.messages import Message
from web.openai.response_parameters import ResponseParameters, engine_body
from web.openai.schemas import answer_schema, held
from web.openai.tools import conversation as tool_conversation
from web.openai.tools import offer, speaks_of_tools

if TYPE_CHECKING:
    from llm.engines.engine import Engine

Conversation = Callable[["Engine"], AsyncGenerator[ConsultingEvent, None]]


def conversation(
    house: House, model: ServedModel, asked: ResponseParameters, messages: list[Message]
) -> Conversation:
    """What to ask of the engine. Raises InvalidRequest."""
    offered = offer(asked.tools, asked.tool_choice, asked.parallel_tool_calls, nested=False)
    if offered is not None:
        answer = answer_schema(asked.answer_schema, "text.format.schema")
        return tool_conversation(house, model, engine_body(asked, messages), offered, answer).events
    if speaks_of_calls(messages) and not speaks_of_tools(house, model):
        messages = plainly(messages)
    return partial(words, body=held(engine_body(asked, messages), "text.format.schema"))
