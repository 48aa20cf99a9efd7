"""/v1/completions: a prompt gone on with by the bare model, without a chat template."""

from typing import TYPE_CHECKING, Annotated, Any

from litestar import Request, Response, post
from litestar.datastructures import State
from litestar.params import Body

from library.errors import InvalidRequest
from web.api import require_json
from web.house import House
from web.openai.bare import Batches, bodies_of, reshaped, streamed, whole
from web.openai.described import described
from web.openai.models import ModelKind, asked_model
from web.openai.parameters import MOST_CHOICES, TextParameters, ignored, is_tokens, parameters, refuse
from web.openai.schemas import held
from web.openai.shapes import TextCompletion

if TYPE_CHECKING:
    from llm.engines.engine import Engine

_REFUSED = {
    "echo": "cannot be: the engine gives back what it writes, not what it read.",
    "suffix": "cannot be: the engine writes after a text, not between two.",
}
_IGNORED = ("user",)


@post(
    "/v1/completions",
    status_code=200,
    operation_class=described(
        TextParameters, TextCompletion, TextCompletion, ignored=_IGNORED, refused=tuple(_REFUSED)
    ),
)
async def completions(
    request: Request[Any, Any, State], state: State, data: Annotated[dict[str, Any], Body()]
) -> Response[Any]:
    """A prompt, or several, gone on with; streamed or whole."""
    require_json(request)
    house: House = state.house
    asked = parameters(data, TextParameters)
    refuse({name: data.get(name) or None for name in _REFUSED}, _REFUSED)
    n = asked.n or 1
    if asked.best_of not in (None, n):
        raise InvalidRequest(
            "best_of", "must be as many as `n`: the engine does not choose between its texts."
        )
    prompts = _prompts(asked.prompt)
    if n * len(prompts) > MOST_CHOICES:
        raise InvalidRequest(
            "prompt", f"asks for {n * len(prompts)} texts with `n`, and one request may for {MOST_CHOICES}."
        )
    await asked_model(house, asked.model, ModelKind.CHAT)
    model = house.models.named(asked.model)
    body = {name: value for name, value in data.items() if name not in _IGNORED and value is not None}
    if asked.max_tokens is None:
        body["max_tokens"] = 16  # OpenAI's; the engine's own is as many as it likes
    if asked.logprobs is not None:
        body["logprobs"] = max(asked.logprobs, 1)  # the engine takes 0 for none at all
    body = held(body)
    bodies = [one for prompt in prompts for one in bodies_of(body | {"prompt": prompt}, n=n)]
    headers = ignored({name: data[name] for name in _IGNORED if name in data}, ())
    offsets: dict[int, int] = {}

    def shaped(choice: dict[str, Any]) -> None:
        told, index = choice.get("logprobs"), choice["index"]
        if told:
            choice["logprobs"] = _logprobs(told["content"], asked.logprobs or 0, offsets.get(index, 0))
        offsets[index] = offsets.get(index, 0) + len(choice["text"])

    if not asked.stream:
        return await whole(
            request,
            house,
            model,
            lambda engine, one: engine.complete(one),
            bodies,
            shaped,
            n=n,
            headers=headers,
        )

    def batches_of(engine: "Engine") -> Batches:
        return reshaped(engine.text_batches, bodies, shaped, n=n, include_usage=asked.include_usage)

    return await streamed(request, house, model, batches_of, headers=headers)


def _prompts(prompt: object) -> list[Any]:
    """Each prompt by itself: text, or token ids of the model's own. Raises InvalidRequest."""
    several = isinstance(prompt, list) and not is_tokens(prompt)
    prompts: list[Any] = prompt if several else [prompt]  # type: ignore[assignment]
    for at, one in enumerate(prompts):
        if not (isinstance(one, str) or is_tokens(one)) or not one:
            where = f"prompt[{at}]" if several else "prompt"
            raise InvalidRequest(where, "must be text or a list of token ids, and not empty.")
    if not prompts:
        raise InvalidRequest("prompt", "must hold at least one prompt.")
    return prompts


def _logprobs(content: list[dict[str, Any]], top: int, offset: int) -> dict[str, Any]:
    """The engine tells them in the chat's shape."""
    offsets = []
    for entry in content:
        offsets.append(offset)
        offset += len(entry["token"])
    return {
        "tokens": [entry["token"] for entry in content],
        "token_logprobs": [entry["logprob"] for entry in content],
        "top_logprobs": [
            {other["token"]: other["logprob"] for other in entry["top_logprobs"][:top]} for entry in content
        ],
        "text_offset": offsets,
    }
