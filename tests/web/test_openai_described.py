"""What our OpenAPI document says of /v1, compared with what is sent."""

import json
import re
from typing import Any

import msgspec
import pytest

from tests.running import Appliance
from tests.web.our_spec import assert_described, described, operations, strict
from web.openai.chat import ChatParameters
from web.openai.completions import TextParameters
from web.openai.embeddings import EmbeddingParameters
from web.openai.rerank import RerankParameters
from web.openai.response_parameters import ResponseParameters

pytestmark = pytest.mark.models

ASKED = {
    "/v1/chat/completions": ChatParameters,
    "/v1/completions": TextParameters,
    "/v1/embeddings": EmbeddingParameters,
    "/v1/rerank": RerankParameters,
    "/v1/responses": ResponseParameters,
}
QUESTION = "How often is the colony called Marigold inspected?"
MESSAGES = [{"role": "user", "content": QUESTION}]
CHAT, LIBRARY, EMBEDDING = "chat", "almanac:garden", "embedding"
JSON = {
    "type": "json_schema",
    "json_schema": {
        "name": "x",
        "schema": {"type": "object", "properties": {"day": {"type": "integer"}}, "required": ["day"]},
    },
}
TOOL = {
    "type": "function",
    "function": {
        "name": "ring",
        "parameters": {"type": "object", "properties": {"bell": {"type": "string"}}},
    },
}


def named(house: Appliance, model: str) -> str:
    known = [one["id"] for one in house.get("/v1/models")[1]["data"]]
    wanted = {CHAT: "SmolLM2", EMBEDDING: "MiniLM"}.get(model, model)
    return str(next(id_ for id_ in known if wanted in id_))


def test_every_endpoint_tells_its_bodies_and_every_reference_leads_somewhere(house: Appliance) -> None:
    document = described(house)
    text = json.dumps(document)
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(re.findall(r'"(#/components/[^"]+)"', text)) <= known
    found = operations(house)
    assert set(ASKED) <= set(found)
    assert {"/v1/models", "/v1/models/{model_id}"} <= set(found)
    for path, told in found.items():
        for status, answer in told["responses"].items():
            schemas = [one["schema"] for one in answer["content"].values()]
            assert all("$ref" in schema for schema in schemas), path
            if status != "200":
                assert schemas == [{"$ref": "#/components/schemas/v1.ErrorEnvelope"}]


@pytest.mark.parametrize(("path", "kind"), ASKED.items(), ids=ASKED)
def test_a_request_is_described_by_what_checks_it(
    house: Appliance, path: str, kind: type[msgspec.Struct]
) -> None:
    schema = operations(house)[path]["requestBody"]["content"]["application/json"]["schema"]
    told = described(house)["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    fields = msgspec.structs.fields(kind)
    assert set(told["properties"]) == {field.encode_name for field in fields}
    assert set(told["required"]) == {field.encode_name for field in fields if field.required}
    assert told.get("additionalProperties") is not False  # what OpenAI adds tomorrow passes


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"model": CHAT, "messages": MESSAGES, "max_tokens": 4}),
        (
            "/v1/chat/completions",
            {
                "model": CHAT,
                "messages": MESSAGES,
                "max_tokens": 3,
                "n": 2,
                "logprobs": True,
                "top_logprobs": 2,
            },
        ),
        ("/v1/chat/completions", {"model": CHAT, "messages": MESSAGES, "response_format": JSON}),
        ("/v1/chat/completions", {"model": CHAT, "messages": MESSAGES, "max_tokens": 30, "tools": [TOOL]}),
        ("/v1/chat/completions", {"model": LIBRARY, "messages": MESSAGES}),
        ("/v1/completions", {"model": CHAT, "prompt": ["A", "B"], "max_tokens": 3, "logprobs": 1}),
        ("/v1/completions", {"model": CHAT, "prompt": "A"}),
        ("/v1/embeddings", {"model": EMBEDDING, "input": ["a", "b"]}),
        ("/v1/embeddings", {"model": EMBEDDING, "input": "a", "encoding_format": "base64"}),
        ("/v1/responses", {"model": CHAT, "input": QUESTION, "max_output_tokens": 8}),
        ("/v1/responses", {"model": LIBRARY, "input": QUESTION, "temperature": 0}),
    ],
    ids=lambda given: given if isinstance(given, str) else " ".join(given),
)
def test_what_is_sent_is_what_is_described(house: Appliance, path: str, body: dict[str, Any]) -> None:
    body = body | {"model": named(house, body["model"])}
    status, answer = house.post(path, body)
    assert status == 200, answer
    assert_described(strict(house, path, "application/json"), answer)
    if path in ("/v1/embeddings", "/v1/rerank"):
        return
    _, _, stream = house.request("POST", path, body | {"stream": True})
    validator = strict(house, path, "text/event-stream")
    events = [line[6:] for line in stream.decode().split("\n") if line.startswith("data: ")]
    assert len(events) > 2
    for event in events:
        if event != "[DONE]":
            assert_described(validator, json.loads(event))


def test_models_are_what_is_described(house: Appliance) -> None:
    assert_described(strict(house, "/v1/models", "application/json"), house.get("/v1/models")[1])
    one = house.get("/v1/models/almanac")[1]
    assert_described(strict(house, "/v1/models/{model_id}", "application/json"), one)


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1/chat/completions", {"model": CHAT, "messages": []}, 400),
        ("/v1/chat/completions", {"model": "nobody", "messages": MESSAGES}, 404),
        ("/v1/completions", b"{", 400),
        ("/v1/embeddings", b'"' + b"x" * 5_000_000 + b'"', 413),
        ("/v1/rerank", {"query": "a", "documents": ["b"]}, 400),
        ("/v1/responses", {"input": "x"}, 400),
    ],
)
def test_errors_are_what_is_described(house: Appliance, path: str, body: Any, expected: int) -> None:
    status, _, answer = house.request("POST", path, body)
    assert status == expected
    assert_described(strict(house, path, "application/json", str(status)), json.loads(answer))
