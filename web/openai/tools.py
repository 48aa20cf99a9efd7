"""Parameters about tools, as chats and responses have them: checked, and put as an offer to the model.

Pure, but for the look at the model's card. Its hard rule: an error names the
very part of the very tool, `tools[2].function.parameters.properties.x`.
"""

from collections.abc import Iterable, Sequence

from library.errors import InvalidRequest
from llm.answering.consulting import Consulting
from llm.answering.library_tools import TOOLS, LibraryTools
from llm.serving.served import ServedModel
from llm.tools.calling import ToolConversation
from llm.tools.offer import NAME, NO_PARAMETERS, Demand, Offer, Tool
from llm.tools.schemas import MOST_PATTERNS, Schema
from web.house import House
from web.openai.schemas import Given, checked

MOST_TOOLS = 128
_LONGEST_DESCRIPTION = 20_000
_MOST_BYTES = 256 * 1024  # of all schemas of a request
_CHOICES = ("none", "auto", "required")


def offer(
    tools: Sequence[Given] | None, choice: object, parallel: bool | None, *, nested: bool
) -> Offer | None:
    """The offer that a request makes; None where no tool may be called. Raises InvalidRequest.

    `nested`: a function is described one level down, in `function`, as chats have it.
    """
    if not tools:
        if choice not in (None, "none", "auto"):
            raise InvalidRequest("tool_choice", "asks for a tool, and `tools` holds none.")
        return None
    if len(tools) > MOST_TOOLS:
        raise InvalidRequest("tools", f"must be at most {MOST_TOOLS}.")
    offered: dict[str, Tool] = {}
    for at, given in enumerate(tools):
        where, function = _function(given, f"tools[{at}]", nested=nested)
        tool = TOOLS.get(str(given["type"])) or _tool(function, where)
        if tool.name in offered:
            raise InvalidRequest(f"{where}.name", f"is the name of an earlier tool, too: {tool.name!r}.")
        if tool.name in TOOLS and given["type"] not in TOOLS:
            raise InvalidRequest(f"{where}.name", f"is one of the library's own: {', '.join(TOOLS)}.")
        offered[tool.name] = tool
        _require_moderate(offered.values())
    return _chosen(offered, choice, parallel, nested=nested)


def asks_library(tools: Sequence[Given] | None) -> bool:
    """Whether tools of the library's own are among them: then an answer is no longer good once the library changes."""
    return any(tool.get("type") in TOOLS for tool in tools or ())


def conversation(
    house: House, model: ServedModel, body: Given, offered: Offer, answer: Schema | None
) -> ToolConversation | Consulting:
    """One choice of a request with tools, the library's own among them or not."""
    native = speaks_of_tools(house, model)
    if any(tool.name in TOOLS for tool in offered.tools):
        return Consulting(body, offered, LibraryTools(house.retriever), native=native, answer=answer)
    return ToolConversation(body, offered, native=native, answer=answer)


def speaks_of_tools(house: House, model: ServedModel) -> bool:
    """Whether the model's own template has a place for tools; one on another machine is believed to."""
    return model.file is None or any(
        found.file == model.file and found.card is not None and found.card.tools
        for found in house.model_files.files()
    )


def _function(given: Given, where: str, *, nested: bool) -> tuple[str, Given]:
    kind = given.get("type")
    if kind not in ("function", *TOOLS):
        raise InvalidRequest(f"{where}.type", f"must be one of function, {', '.join(TOOLS)}.")
    if not nested or kind in TOOLS:
        return where, given
    function = given.get("function")
    if not isinstance(function, dict):
        raise InvalidRequest(f"{where}.function", "must be an object that describes the function.")
    return f"{where}.function", function


def _tool(function: Given, where: str) -> Tool:
    name, description = function.get("name"), function.get("description")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InvalidRequest(
            f"{where}.name", "must be of 1 to 64 letters, digits, underscores and hyphens (a-z, A-Z, 0-9)."
        )
    if description is not None and not isinstance(description, str):
        raise InvalidRequest(f"{where}.description", "must be a string.")
    if description and len(description) > _LONGEST_DESCRIPTION:
        raise InvalidRequest(f"{where}.description", f"must have at most {_LONGEST_DESCRIPTION} characters.")
    strict = function.get("strict")
    if strict is not None and not isinstance(strict, bool):
        raise InvalidRequest(f"{where}.strict", "must be true or false.")
    parameters = function.get("parameters")
    if parameters is None:
        parameters = NO_PARAMETERS
    if not isinstance(parameters, dict):
        raise InvalidRequest(f"{where}.parameters", "must be a JSON schema, an object.")
    return Tool(name, description or "", checked(parameters, f"{where}.parameters", of_object=True))


def _require_moderate(tools: Iterable[Tool]) -> None:
    """Each schema takes its time to be read, on which everybody waits."""
    schemas = [tool.parameters for tool in tools]
    if sum(schema.size for schema in schemas) > _MOST_BYTES:
        raise InvalidRequest("tools", f"have schemas of more than {_MOST_BYTES} bytes together.")
    if sum(schema.patterns for schema in schemas) > MOST_PATTERNS:
        raise InvalidRequest("tools", f"have schemas with more than {MOST_PATTERNS} patterns together.")


def _chosen(offered: dict[str, Tool], choice: object, parallel: bool | None, *, nested: bool) -> Offer | None:
    if choice is None or isinstance(choice, str):
        if choice not in (None, *_CHOICES):
            raise InvalidRequest("tool_choice", f"must be one of {', '.join(_CHOICES)}, or name a function.")
        if choice == "none":
            return None
        demand = Demand.REQUIRED if choice == "required" else Demand.AUTO
        return Offer(tuple(offered.values()), demand, parallel)
    if not isinstance(choice, dict):
        raise InvalidRequest("tool_choice", "must be a string or an object.")
    if choice.get("type") == "allowed_tools":
        return _allowed(offered, choice, parallel, nested=nested)
    where, function = _named(choice, "tool_choice", nested=nested)
    tool = _of_name(offered, function, where)
    return Offer((tool,), Demand.REQUIRED, parallel=False)


def _allowed(offered: dict[str, Tool], choice: Given, parallel: bool | None, *, nested: bool) -> Offer:
    where = "tool_choice.allowed_tools" if nested else "tool_choice"
    inner = choice.get("allowed_tools") if nested else choice
    mode = inner.get("mode") if isinstance(inner, dict) else None
    if not isinstance(inner, dict) or mode not in ("auto", "required"):
        raise InvalidRequest(f"{where}.mode", "must be `auto` or `required`.")
    listed = inner.get("tools")
    if not isinstance(listed, list) or not listed:
        raise InvalidRequest(f"{where}.tools", "must be a list of at least one tool.")
    allowed = {}
    for at, one in enumerate(listed):
        place, function = _named(one, f"{where}.tools[{at}]", nested=nested)
        tool = _of_name(offered, function, place)
        allowed[tool.name] = tool
    return Offer(tuple(allowed.values()), Demand(mode), parallel)


def _named(given: object, where: str, *, nested: bool) -> tuple[str, Given]:
    if isinstance(given, dict) and given.get("type") in TOOLS:
        return where, {"name": given["type"]}
    if not isinstance(given, dict) or given.get("type") != "function":
        raise InvalidRequest(f"{where}.type", f"must be one of function, {', '.join(TOOLS)}.")
    function = given.get("function") if nested else given
    if not isinstance(function, dict):
        raise InvalidRequest(f"{where}.function", "must be an object with the function's `name`.")
    return (f"{where}.function" if nested else where), function


def _of_name(offered: dict[str, Tool], function: Given, where: str) -> Tool:
    name = function.get("name")
    tool = offered.get(name) if isinstance(name, str) else None
    if tool is None:
        raise InvalidRequest(f"{where}.name", "must be the name of one of the `tools`.")
    return tool
