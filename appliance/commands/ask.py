"""almanac ask"""

import argparse
import json
import sys
from typing import Any

from appliance import client


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("question", help="in plain words")
    parser.add_argument("--shelf", help="answer from one shelf only")
    client.arguments(parser)


def run(given: argparse.Namespace) -> int:
    """Exit code 0 with an answer (also `not found`), 1 when it failed half way."""
    asked = client.client_for(given)
    answer = _Answer()
    for event, body in asked.events("/api/ask", {"question": given.question, "shelf": given.shelf}):
        piece = answer.take(event, body)
        if event == "waiting" and body["position"]:
            is_what = "being loaded" if body["loading"] else "busy"
            print(f"The model is {is_what}; number {body['position']} in line.", file=sys.stderr)
        if not given.json:
            print(piece, end="", flush=True)
    if answer.failure:
        print(f"{'' if given.json else chr(10)}almanac: {answer.failure}", file=sys.stderr)
        return 1
    if given.json:
        print(json.dumps(answer.as_json(), indent=2, ensure_ascii=False))
        return 0
    print()
    for source in answer.sources:
        if source["n"] in answer.cited:
            path = " › ".join(source["passage"]["heading_path"])
            page = f", page {source['passage']['page']}" if source["passage"]["page"] else ""
            print(f"  [{source['n']}] {path}{page}  {asked.url}{source['passage']['href']}")
    for notice in answer.end.get("notices", ()):
        print(f"  note: {notice}")
    return 0


class _Answer:
    """Puts the events of an answer together."""

    def __init__(self) -> None:
        self.text = ""
        self.sources: list[dict[str, Any]] = []
        self.cited: list[int] = []
        self.end: dict[str, Any] = {}
        self.failure = ""

    def take(self, event: str, body: dict[str, Any]) -> str:
        """Note an event; returns what it adds to the text."""
        piece = ""
        if event == "passages":
            self.sources = body["passages"]
        elif event == "token":
            piece = body["text"]
        elif event == "citation":
            self.cited.append(body["n"])
            piece = f" [{body['n']}]"
        elif event == "done":
            self.end = body
        elif event == "failed":
            self.failure = body["message"]
        self.text += piece
        return piece

    def as_json(self) -> dict[str, Any]:
        return {"text": self.text, "sources": self.sources, "citations": sorted(set(self.cited))} | self.end
