"""Plain completions, of the real model, through the official client and by hand."""

import json
from typing import Any

import openai
import pytest

from tests.running import Appliance
from tests.web.openai_spec import assert_valid
from web.openai.completions import _IGNORED, _REFUSED
from web.openai.parameters import TextParameters

pytestmark = pytest.mark.models

TEXT = "/v1/completions"


def both(house: Appliance, body: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The same request whole and streamed, every object valid."""
    asked = {"prompt": "Water is", "max_tokens": 4, "temperature": 0} | body
    status, whole = house.post(TEXT, asked)
    assert status == 200, whole
    assert_valid("CreateCompletionResponse", whole)
    more = {"stream": True, "stream_options": {"include_usage": True}}
    _, _, answer = house.request("POST", TEXT, asked | more)
    *events, last = answer.decode().strip().split("\n\n")
    assert last == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    for chunk in chunks:
        assert_valid("CreateCompletionResponse", chunk)
    texts = dict.fromkeys(range(len(whole["choices"])), "")
    for chunk in chunks:
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["text"]
    assert list(texts.values()) == [choice["text"] for choice in whole["choices"]]
    for count in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert chunks[-1]["usage"][count] == whole["usage"][count]
    return whole, chunks


def test_every_documented_parameter_is_honoured_ignored_or_refused() -> None:
    documented = [
        "best_of",
        "echo",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_tokens",
        "model",
        "n",
        "presence_penalty",
        "prompt",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "suffix",
        "temperature",
        "top_p",
        "user",
    ]
    assert sorted({*TextParameters.__struct_fields__, *_IGNORED, *_REFUSED}) == sorted(documented)


def test_the_official_client_completes_whole_and_streamed(client: openai.OpenAI, model: str) -> None:
    whole = client.completions.create(model=model, prompt="Water is", max_tokens=4, temperature=0)
    assert whole.choices[0].text
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (2, 4)
    stream = client.completions.create(
        model=model, prompt="Water is", max_tokens=4, temperature=0, stream=True
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert not any(chunk.usage for chunk in chunks)  # nobody asked for it


def test_prompts_and_choices_each_have_an_index_and_all_are_counted(house: Appliance, model: str) -> None:
    whole, _ = both(
        house, {"model": model, "prompt": ["Water is", "Fire is"], "n": 2, "temperature": 1.5, "seed": 3}
    )
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2, 3]
    assert whole["usage"]["prompt_tokens"] == 4  # each prompt once
    assert whole["usage"]["completion_tokens"] == 16
    alone, _ = both(house, {"model": model, "prompt": "Fire is", "temperature": 1.5, "seed": 3})
    assert alone["choices"][0]["text"] == whole["choices"][2]["text"]


def test_a_prompt_may_be_tokens(house: Appliance, model: str) -> None:
    one, _ = both(house, {"model": model, "prompt": [1, 2, 3]})
    two, _ = both(house, {"model": model, "prompt": [[1, 2, 3], [4]]})
    assert two["choices"][0]["text"] == one["choices"][0]["text"]
    assert one["usage"]["prompt_tokens"] == 3


@pytest.mark.parametrize("top", [0, 2])
def test_log_probabilities_are_in_the_shape_of_completions(house: Appliance, model: str, top: int) -> None:
    whole, chunks = both(house, {"model": model, "logprobs": top})
    told, text = whole["choices"][0]["logprobs"], whole["choices"][0]["text"]
    assert "".join(told["tokens"]) == text
    assert all(len(others) == top for others in told["top_logprobs"])
    for token, offset in zip(told["tokens"], told["text_offset"], strict=True):
        assert text[offset:].startswith(token)
    streamed = [choice["logprobs"] for chunk in chunks for choice in chunk["choices"] if choice["logprobs"]]
    assert [offset for part in streamed for offset in part["text_offset"]] == told["text_offset"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"echo": True}, "echo"),
        ({"suffix": "."}, "suffix"),
        ({"best_of": 3}, "best_of"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"prompt": None}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [999_999_999]}, "prompt"),
        ({"prompt": ["a", ""]}, "prompt[1]"),
        ({"prompt": [["a"]]}, "prompt[0]"),
        ({"prompt": ["a"] * 5, "n": 2}, "prompt"),
        ({"prompt": "water " * 6000}, "prompt"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"model": "almanac"}, "model"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(
    house: Appliance, model: str, change: dict[str, Any], param: str
) -> None:
    for stream in (True, False):
        status, answer = house.post(TEXT, {"model": model, "prompt": "a", "stream": stream} | change)
        assert (status, answer["error"]["param"]) == (400, param)
        assert_valid("ErrorResponse", answer)


def test_what_asks_for_nothing_is_no_mistake(house: Appliance, model: str) -> None:
    both(house, {"model": model, "echo": False, "suffix": "", "best_of": 1, "logprobs": None, "user": None})


def test_tokens_that_the_model_does_not_have_are_the_requests_fault(house: Appliance, model: str) -> None:
    for prompt in ([-1], [10**9]):
        assert house.post(TEXT, {"model": model, "prompt": prompt})[0] == 400


def test_the_library_completes_no_prompts_and_says_where_to_ask(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="/v1/chat/completions"):
        client.completions.create(model="almanac", prompt="Water is")
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="gpt-9", prompt="Water is")
