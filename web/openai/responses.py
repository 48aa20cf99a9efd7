"""/v1/responses: OpenAI's newer way to ask, from the library or from the bare model.

Its hard rule: nothing is kept. A response cannot be fetched, gone on with by
its id or run in the background; whoever goes on sends the conversation along.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import Annotated, Any

from litestar import Request, Response, post
from litestar.datastructures import State
from litestar.params import Body
from litestar.response import Stream

from library.errors import AlmanacError, InvalidRequest, ModelUnavailable
from llm.answering.answer import told
from llm.events import AnswerKind, Done, Failed, Token, Usage, Waiting
from llm.serving.queue import Reader
from llm.serving.served import ServedModel
from llm.tools.offer import Ended, Said, Writing
from web.api import STREAM_HEADERS, require_json, server_sent
from web.house import House
from web.leaving import unless_gone
from web.openai.described import described
from web.openai.library import LibraryText
from web.openai.messages import Message, question
from web.openai.models import ModelKind, asked_model, shelf_of
from web.openai.parameters import ignored, parameters, refuse
from web.openai.pictures import details, look_at, refuse_pictures, require_moderate
from web.openai.response_events import ResponseWritten, WrittenEvent
from web.openai.response_parameters import REFUSED, ResponseParameters, input_messages
from web.openai.response_shapes import ResponseAnswer, ResponseEvent
from web.openai.response_tools import Conversation, conversation
from web.openai.tools import asks_library
from web.problems import LARGEST_WITH_PICTURES_BYTES, failed_problem
from web.repeated import events as repeated_events
from web.repeated import repeat_of
from web.waiting import comment, reader_of


@post(
    "/v1/responses",
    status_code=200,
    request_max_body_size=LARGEST_WITH_PICTURES_BYTES,
    operation_class=described(ResponseParameters, ResponseAnswer, ResponseEvent, refused=tuple(REFUSED)),
)
async def responses(
    request: Request[Any, Any, State], state: State, data: Annotated[dict[str, Any], Body()]
) -> Response[Any]:
    """A response, streamed or whole."""
    require_json(request)
    await require_moderate(request)
    house: House = state.house
    asked = parameters(data, ResponseParameters)
    refuse(data, REFUSED)
    messages, pictures = input_messages(asked)
    kind = await asked_model(house, asked.model, ModelKind.LIBRARY, ModelKind.CHAT)
    headers = ignored(data | details(pictures), asked.honoured(library=kind is ModelKind.LIBRARY))
    written = ResponseWritten(
        asked, LibraryText(str(request.base_url).rstrip("/")), cited=kind is ModelKind.LIBRARY
    )
    model = house.models.default if kind is ModelKind.LIBRARY else house.models.named(asked.model)
    if kind is ModelKind.LIBRARY:
        refuse_pictures(house, pictures)
        events = _library_events(house, asked, messages, reader_of(request))
    else:
        await look_at(house, model, pictures, "input")
        asking = conversation(house, model, asked, messages)
        events = _model_events(house, model, asking, reader_of(request))
    of_library = kind is ModelKind.LIBRARY or asks_library(asked.tools)
    repeat = await repeat_of(request, house, model, of_library=of_library, seeded=False)
    headers, events = headers | repeat.headers, repeated_events(repeat, events)
    if not asked.stream:
        return await unless_gone(request, _whole(request, house, events, written, headers))
    # The first event is awaited here: a request that is refused is an HTTP error.
    with house.precedence.foreground():
        first = await unless_gone(request, _first(events))
    if isinstance(first, Failed):
        return failed_problem(request, first)
    stream = _streamed(house, first, events, written)
    return Stream(stream, media_type="text/event-stream", headers=STREAM_HEADERS | headers)


# --- what is written -------------------------------------------------------------------------------


def _library_events(
    house: House, asked: ResponseParameters, messages: list[Message], reader: Reader
) -> AsyncGenerator[WrittenEvent, None]:
    put = question(
        messages,
        shelf=shelf_of(asked.model),
        max_tokens=asked.max_output_tokens,
        sampling={
            name: value
            for name, value in (("temperature", asked.temperature), ("top_p", asked.top_p))
            if value is not None
        },
        reader=reader,
        parameter="input",
    )
    return house.answerer.answer(put)


async def _model_events(
    house: House, model: ServedModel, conversation: Conversation, reader: Reader
) -> AsyncGenerator[WrittenEvent, None]:
    """The bare model's words as events, in their turn. What goes wrong before the first is raised."""
    finish_reason, usage, begun = "stop", Usage(), False
    try:
        with model.place(reader) as place:
            async for position in place.positions():
                begun = True
                yield Waiting(position)
            engine = await model.engine_back()
            async with aclosing(conversation(engine)) as events:
                async for event in events:
                    if isinstance(event, Ended):
                        finish_reason, usage = event.finish_reason, event.usage
                        continue
                    if isinstance(event, Writing):
                        if not begun:
                            yield Token("")  # the stream begins, and says nothing yet
                    else:
                        yield Token(event.text) if isinstance(event, Said) else event
                    begun = True
    except InvalidRequest as error:
        if begun:
            yield Failed(error.code, told(error, house.models))
            return
        where = "input" if error.parameter.startswith("messages") else error.parameter
        where = "text.format" if where == "response_format" else where
        raise InvalidRequest(where, error.problem) from error
    except AlmanacError as error:
        if not begun:
            raise
        yield Failed(error.code, told(error, house.models))
        return
    yield Done(AnswerKind.WRITTEN, model.id, finish_reason, usage, ())


async def _first(events: AsyncGenerator[WrittenEvent, None]) -> WrittenEvent | None:
    return await anext(events, None)


async def _whole(
    request: Request[Any, Any, State],
    house: House,
    events: AsyncGenerator[WrittenEvent, None],
    written: ResponseWritten,
    headers: dict[str, str],
) -> Response[Any]:
    with house.precedence.foreground():
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Failed):
                    return failed_problem(request, event)
                for _ in written.add(event):
                    pass
                if isinstance(event, Done):
                    return Response(written.response(), headers=headers)
    raise ModelUnavailable("The answer ended without a word. Ask again.")


async def _streamed(
    house: House,
    first: WrittenEvent | None,
    events: AsyncGenerator[WrittenEvent, None],
    written: ResponseWritten,
) -> AsyncIterator[bytes]:
    number = 0

    def sent(told: Iterator[dict[str, Any]]) -> bytes:
        nonlocal number
        out = b""
        for event in told:
            out += server_sent(event["type"], event | {"sequence_number": number})
            number += 1
        return out

    with house.precedence.foreground():
        async with aclosing(events):
            yield sent(written.begin())
            if first is not None:
                yield comment(first.position) if isinstance(first, Waiting) else sent(written.add(first))
            async for event in events:
                if isinstance(event, Waiting):
                    yield comment(event.position)
                elif out := sent(written.add(event)):
                    yield out
