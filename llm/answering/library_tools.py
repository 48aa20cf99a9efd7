"""The library's own tools: search_library, open_passage and define_term, for any chat model.

Knows the retriever and the record, and neither engine nor HTTP. Its hard rule:
what comes out of a book is told as a quotation with its passage's id; it cannot
forge the marks of a chat template, and however long the book is, it is short.
"""

import re
from collections.abc import Sequence

import msgspec

from library.errors import AlmanacError
from llm.answering.prompt import defused
from llm.answering.quotation import best_sentences
from llm.tools.offer import Tool, ToolCall
from llm.tools.schemas import Schema
from search.query import plain_query
from search.retriever import Retriever
from search.values import Passage

_FOUND, _QUOTED = 4, 500  # passages a search tells, and characters of each
_OPENED = 3_000
_CONSIDERED = 12
_STRAIGHT = str.maketrans("“”„", '"""')
_NOTHING = "The library holds nothing on that."


def _text(description: str, longest: int = 300) -> dict[str, object]:
    return {"type": "string", "minLength": 1, "maxLength": longest, "description": description}


def _tool(name: str, description: str, required: str, **properties: dict[str, object]) -> Tool:
    schema = {"type": "object", "properties": properties, "required": [required]}
    return Tool(name, description, Schema(schema | {"additionalProperties": False}))


TOOLS = {
    tool.name: tool
    for tool in (
        _tool(
            "search_library",
            "Searches the books and notes of this house. Gives the best passages, each with its id.",
            "query",
            query=_text("What to search for, in a few words"),
            shelf=_text("Only on this shelf", 100),
        ),
        _tool(
            "open_passage",
            "Gives the whole text of a passage that was found before.",
            "passage_id",
            passage_id=_text("The id of the passage", 64),
        ),
        _tool(
            "define_term",
            "Tells what a word or a name means, in the words of the books of this house.",
            "term",
            term=_text("The word or the name", 100),
        ),
    )
}


class Consulted(msgspec.Struct, frozen=True):
    """What a tool gave: the words for the model, and the passages that they are from."""

    text: str
    passages: tuple[Passage, ...] = ()


class LibraryTools:
    def __init__(self, retriever: Retriever) -> None:
        self._retriever = retriever

    def consult(self, call: ToolCall) -> Consulted:
        """Blocks while it searches. What cannot be told is said in words: the model has to go on."""
        arguments = msgspec.json.decode(call.arguments, type=dict[str, str])
        try:
            match call.name:
                case "search_library":
                    return self._search(arguments["query"], arguments.get("shelf"))
                case "open_passage":
                    return self._open(arguments["passage_id"])
                case _:
                    return self._define(arguments["term"])
        except AlmanacError as error:
            return Consulted(f"That could not be done: {error}")

    def _search(self, query: str, shelf: str | None) -> Consulted:
        # A small model names a shelf because it can; where there is nothing on it, the whole library is meant.
        found = self._found(query, shelf) or self._found(query, None)
        found = found[:_FOUND]
        return _told(
            [(passage, best_sentences(passage.excerpt.text, query, longest=_QUOTED)) for passage in found]
        )

    def _open(self, passage_id: str) -> Consulted:
        passages = self._retriever.passages((passage_id,), "")
        return _told([(passage, passage.excerpt.text[:_OPENED]) for passage in passages])

    def _define(self, term: str) -> Consulted:
        """Passages that say what it is come before those that only speak of it."""
        says = re.compile(
            rf"\b{re.escape(term)}\b,?\s+(?:is|are|was|were|means|refers|denotes)\b", re.IGNORECASE
        )
        found = sorted(self._found(term, None), key=lambda passage: not says.search(passage.excerpt.text))
        quoted = []
        for passage in found[: _FOUND - 1]:
            said = says.search(passage.excerpt.text)
            text = passage.excerpt.text[said.start() :] if said else passage.excerpt.text
            quoted.append((passage, best_sentences(text, term, longest=_QUOTED)))
        return _told(quoted)

    def _found(self, text: str, shelf: str | None) -> Sequence[Passage]:
        query = plain_query(text, shelf)
        return self._retriever.search(query, limit=_CONSIDERED, join=False, rerank=True).passages


def _inside(text: str) -> str:
    """As it can stand in a quotation: a book ends none by itself, to go on with another's name under it."""
    return defused(text.translate(_STRAIGHT))


def _told(quoted: Sequence[tuple[Passage, str]]) -> Consulted:
    if not quoted:
        return Consulted(_NOTHING)
    told = []
    for passage, text in quoted:
        excerpt = passage.excerpt
        where = " › ".join((excerpt.document.title, *excerpt.heading_path))
        told.append(f"“{_inside(text)}”\n({_inside(' '.join(where.split()))}; passage {excerpt.id})")
    return Consulted("\n\n".join(told), tuple(passage for passage, _ in quoted))
