"""Promises: what a request for tools or for JSON was given is what it asked for, whichever client asked.

Read from what was sent over the wire, so that no client's own leniency hides a
mistake. Knows nothing of how well a model chooses: a call that makes no sense
is a call, but arguments that do not satisfy the tool's schema are a fault.
"""

import json
from collections.abc import Iterable
from typing import Any

import jsonschema_rs

from tests.clients.exchanges import Exchange


def assert_promises(found: Iterable[Exchange]) -> None:
    """Fails at the first answer to a chat that breaks what its request was promised."""
    for exchange in found:
        if exchange.path == "/v1/chat/completions" and exchange.status == 200 and exchange.whole:
            for choice in answers(exchange):
                try:
                    _assert_calls(exchange.body, choice)
                    _assert_format(exchange.body, choice)
                except (AssertionError, ValueError) as wrong:
                    wrong.add_note(f"{exchange.asked!r:.1000} was answered with {choice}")
                    raise


def answers(exchange: Exchange) -> list[dict[str, Any]]:
    """Each choice of a chat, whole or put together from its chunks: `content`, `tool_calls`, `finish_reason`."""
    if not exchange.streamed:
        return [
            {
                "content": choice["message"].get("content") or "",
                "tool_calls": choice["message"].get("tool_calls") or [],
                "finish_reason": choice["finish_reason"],
            }
            for choice in json.loads(exchange.answered)["choices"]
        ]
    found: dict[int, dict[str, Any]] = {}
    for chunk in map(json.loads, exchange.events[:-1]):
        for choice in chunk.get("choices", ()):
            told = found.setdefault(choice["index"], {"content": "", "tool_calls": {}, "finish_reason": None})
            told["content"] += choice["delta"].get("content") or ""
            told["finish_reason"] = choice["finish_reason"] or told["finish_reason"]
            for part in choice["delta"].get("tool_calls") or ():
                _add_part(told["tool_calls"], part)
    return [told | {"tool_calls": list(told["tool_calls"].values())} for told in found.values()]


def _add_part(calls: dict[int, dict[str, Any]], part: dict[str, Any]) -> None:
    call = calls.setdefault(part["index"], {"function": {"name": "", "arguments": ""}})
    said = part.get("function", {})
    call |= {name: part[name] for name in ("id", "type") if part.get(name)}
    call["function"]["name"] += said.get("name") or ""
    call["function"]["arguments"] += said.get("arguments") or ""


def _assert_calls(asked: dict[str, Any], answer: dict[str, Any]) -> None:
    calls = answer["tool_calls"]
    tools = asked.get("tools") or []
    # Others are the library's own, which are called here and not by the client.
    offered = {tool["function"]["name"]: tool["function"] for tool in tools if tool["type"] == "function"}
    choice = asked.get("tool_choice") or "auto"
    if isinstance(choice, dict) and choice["type"] == "allowed_tools":
        allowed = choice["allowed_tools"]
        names = {tool["function"]["name"] for tool in allowed["tools"] if tool["type"] == "function"}
        offered = {name: function for name, function in offered.items() if name in names}
        choice = allowed["mode"]
    if not calls and answer["finish_reason"] == "length":
        return  # the request's own bound has cut the call short
    if choice == "none" or not offered:
        assert calls == [], "a tool is called that nobody offered"
    elif choice == "required" and all(tool["type"] == "function" for tool in tools):
        assert calls, "no tool is called"
    elif isinstance(choice, dict) and choice["type"] == "function":
        assert {call["function"]["name"] for call in calls} == {choice["function"]["name"]}
    for call in calls:
        assert call["type"] == "function"
        assert call["id"]
        assert call["function"]["name"] in offered
        tool = offered[call["function"]["name"]]
        jsonschema_rs.validate(tool.get("parameters") or {}, json.loads(call["function"]["arguments"]))
    assert len({call["id"] for call in calls}) == len(calls)


def _assert_format(asked: dict[str, Any], choice: dict[str, Any]) -> None:
    format_ = asked.get("response_format") or {}
    if choice["finish_reason"] == "length" or choice["tool_calls"]:
        return
    if format_.get("type") == "json_object":
        assert isinstance(json.loads(choice["content"]), dict)
    elif format_.get("type") == "json_schema":
        jsonschema_rs.validate(format_["json_schema"]["schema"], json.loads(choice["content"]))
