"""Refusals: what an engine's error means here.

Knows the sentences of llama.cpp's server, and no transport. Its hard rule: what
is the asker's mistake is InvalidRequest, with the parameter's name, and
everything else says what to do about it.
"""

import re
from typing import NoReturn

import msgspec

from library.errors import InvalidRequest, ModelFailed, ModelUnavailable

TEXT, VECTORS, SCORES = "/v1/completions", "/v1/embeddings", "/v1/rerank"
_ASKED_IN = {TEXT: "prompt", VECTORS: "input", SCORES: "documents"}  # otherwise in messages


class _Fault(msgspec.Struct):
    message: str = "no reason given"
    type: str = ""
    n_prompt_tokens: int = 0
    n_ctx: int = 0


class _Refusal(msgspec.Struct):
    """The engine's error body: {"error": {...}}."""

    error: _Fault


# What llama-server calls its own fault (500), and what its sentences are about.
_ASKERS_MISTAKES = ("Failed to parse messages", "Unknown reasoning format", "image input is not supported")
_NAMED_SO = {
    "JSON schema": "response_format",
    "parse grammar": "grammar",
    "Failed to parse messages": "messages",
    "Unknown reasoning format": "reasoning_format",
    "image input is not supported": "messages",
    "Failed to load image": "messages",
}


# It calls this its own fault, too.
_TOO_LONG = re.compile(r"input \((\d+) tokens\) is (?:too large to process|larger than)\D*(\d+)")


def refuse(status: int, body: bytes, path: str) -> NoReturn:
    """An answer other than 200, as an error of ours."""
    fault, asked_in = fault_of(body), _ASKED_IN.get(path, "messages")
    if path in {VECTORS, SCORES}:
        _refuse_to_read(fault, path)
    if fault.type == "exceed_context_size_error":
        raise InvalidRequest(
            asked_in,
            f"hold {fault.n_prompt_tokens} tokens and the model's context {fault.n_ctx}. "
            "Shorten them, or raise `llm.context_tokens`.",
        )
    match 400 if status == 500 and fault.message.startswith(_ASKERS_MISTAKES) else status:
        case 400 | 413 | 422:
            # "Field 'temperature': type must be number", "'messages' is required"
            named = re.search(r"'(\w{1,40})'", fault.message)
            # "JSON schema error at #: unrecognized type wizard"
            where = next((name for says, name in _NAMED_SO.items() if says in fault.message), "request")
            where = asked_in if fault.message.startswith("Prompt contains invalid tokens") else where
            said = fault.message.rstrip(".")
            raise InvalidRequest(
                named.group(1) if named else where, f"was refused by the model's engine: {said}."
            )
        case 401 | 403:
            raise ModelUnavailable("The model's engine refused the key. Restart it.")
        case 503:
            raise ModelUnavailable("The model is still being loaded. Ask again in a moment.")
        case _:
            raise ModelFailed(sentence(f"{fault.message} (status {status})"))


def _refuse_to_read(fault: _Fault, path: str) -> None:
    """For what only those have who make vectors or judge; returns if it is nothing of that."""
    tokens, most = fault.n_prompt_tokens, fault.n_ctx
    if told := _TOO_LONG.match(fault.message):
        tokens, most = map(int, told.groups())
    if told or fault.type == "exceed_context_size_error":
        both = " together with the query" if path == SCORES else ""
        raise InvalidRequest(
            _ASKED_IN[path],
            f"holds {tokens} tokens{both} and the model reads {most}. Cut it into shorter texts.",
        )
    if fault.message.startswith("Pooling type 'none'"):
        raise InvalidRequest(
            "model",
            "cannot be asked for vectors: its file does not say how they are made of its tokens "
            "(`pooling_type`). Use another file of it.",
        )


def fault_of(body: bytes) -> _Fault:
    try:
        return msgspec.json.decode(body, type=_Refusal).error
    except msgspec.MsgspecError:
        return _Fault()


def sentence(reason: str) -> str:
    return f"The model's engine failed: {reason}. Ask again."
