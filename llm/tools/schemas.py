"""Schemas: which JSON schemas are taken from a client, and whether a value satisfies one.

Knows JSON Schema, and neither tools nor engines. A schema is somebody's input:
it may refer to itself without end, unfold into millions, name a host or hold a
pattern that takes years. Its hard rule: whatever is taken is decided within a
bounded time, and nothing is ever fetched.
"""

import math
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import msgspec

Json = dict[str, Any] | list[Any] | str | int | float | bool | None

MOST_BYTES = 64 * 1024
DEEPEST = 48  # levels of a schema; as many nested objects are 24 of them
_LONGEST_CHAIN = 200  # of schemas that lead to each other
_MOST_REFERENCES = 200  # different ones
# Reading one takes up to 5 ms, and a megabyte.
MOST_PATTERNS = 100
# What matching texts against patterns may take: characters, and where a pattern looks around or
# back, a tenth of their square, for then each place may be tried from each other. Up to 10 µs each.
_MOST_MATCHED, _MOST_MATCHED_FOR_A_SENTENCE, _MOST_MATCHED_STEPS = 40_000, 4_000, 20_000
_PLAIN_PATTERN = re.compile(
    r"(?:[^\\(+]|\\[pP](?:\{\w+\}|\w)\+?|\\[^0-9kgGKpP]|\((?!\?)|\(\?:|(?<![*+?}])\+)*"
)
_MOST_BRANCHES = 1_000  # that apply to one and the same value
# A validator asks at most every schema that one without recursion unfolds into; of one with, every
# branch at every level of the value: branches to the power of levels. Its sentence takes 1,000 times as long.
_MOST_STEPS, _MOST_STEPS_FOR_A_SENTENCE = 1_000_000, 1_000

# Where a schema has schemas: those that apply to the same value, and those for what is inside it.
_SAME = ("not", "if", "then", "else")
_SAME_LISTS = ("anyOf", "oneOf", "allOf")
_SAME_MAPS = ("dependentSchemas",)
_INSIDE_LISTS = ("items", "prefixItems")
_INSIDE_MAPS = ("properties", "patternProperties")
_OF_ITEMS = ("additionalItems", "contains", "unevaluatedItems")
_OF_PROPERTIES = ("additionalProperties", "propertyNames", "unevaluatedProperties")
_INSIDE = ("items", *_OF_ITEMS, *_OF_PROPERTIES)
DEFINITIONS = ("$defs", "definitions")
_OF_OTHERS = ("$dynamicRef", "$recursiveRef")


class SchemaRefused(ValueError):
    """`where` is the path within the schema, "" for the whole; `problem` the rest of a sentence."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where} {problem}".strip())
        self.where, self.problem = where, problem


class Schema:
    """One that was checked. Raises SchemaRefused for what is no schema, or cannot be decided in time."""

    def __init__(self, schema: dict[str, Any]) -> None:
        size = len(msgspec.json.encode(schema))
        if size > MOST_BYTES:
            raise SchemaRefused("", f"has {size} bytes, more than {MOST_BYTES}.")
        self.patterns = _check(schema)
        self.size = size
        self.schema = schema
        self._branches = _Count(schema, inside=False).most
        self._unfolded = _Count(schema, inside=True).most
        try:
            self._validator = jsonschema_rs.validator_for(
                schema,
                offline=True,
                validate_formats=True,
                pattern_options=jsonschema_rs.FancyRegexOptions(
                    backtrack_limit=10_000, size_limit=2**20, dfa_size_limit=2**20
                ),
            )
        except jsonschema_rs.ValidationError as error:
            where = ".".join(str(step) for step in error.instance_path)
            raise SchemaRefused(where, f"is no valid JSON schema: {_first_line(error.message)}.") from error
        except (jsonschema_rs.ReferencingError, ValueError) as error:
            raise SchemaRefused("", f"is no valid JSON schema: {_first_line(str(error))}.") from error

    def fault(self, value: Json) -> str | None:
        """Why `value` does not satisfy the schema, in a few words; None when it does."""
        steps = min(self._unfolded, self._branches ** _levels(value))
        if steps > _MOST_STEPS:
            return "it is nested too deeply"
        matched = _Matching(self.schema).takes(value) if self.patterns else 0
        if matched > _MOST_MATCHED:
            return "it is too long to be held against the schema's patterns"
        if self._validator.is_valid(value):
            return None
        if steps > _MOST_STEPS_FOR_A_SENTENCE or matched > _MOST_MATCHED_FOR_A_SENTENCE:
            return "it does not satisfy the schema"
        try:
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            where = ".".join(str(step) for step in error.instance_path)
            return f"`{where}`: {_first_line(error.message)}" if where else _first_line(error.message)
        return "it does not satisfy the schema"


def parts(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every schema directly within this one, with its path from here; definitions included."""
    yield from _within(schema, _SAME, _SAME_LISTS, _SAME_MAPS)
    yield from _within(schema, _INSIDE, _INSIDE_LISTS, (*_INSIDE_MAPS, *DEFINITIONS))


def target(root: dict[str, Any], reference: str) -> Any:
    """What a reference into the same schema (`#`, `#/$defs/name`) points to. Raises LookupError."""
    found: Any = root
    for step in reference.removeprefix("#").split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        found = found[int(name)] if isinstance(found, list) and name.isdecimal() else found[name]
    return found


def recursive(root: dict[str, Any]) -> frozenset[str]:
    """The references of a checked schema that lead back to themselves."""
    targets: dict[str, int] = {}  # there may be many ways to write one
    leading: dict[int, set[int]] = {}
    todo = list(dict.fromkeys(_references(root)))
    while todo:
        reference = todo.pop()
        if reference in targets:
            continue
        found = target(root, reference)
        targets[reference] = id(found)
        if id(found) not in leading:
            onwards = set(_references(found))
            leading[id(found)] = {id(target(root, one)) for one in onwards}
            todo += onwards

    def returns(begun: int) -> bool:
        seen: set[int] = set()
        ahead = list(leading[begun])
        while ahead:
            one = ahead.pop()
            if one == begun:
                return True
            if one not in seen:
                seen.add(one)
                ahead += leading[one]
        return False

    returning = {one for one in leading if returns(one)}
    return frozenset(reference for reference, found in targets.items() if found in returning)


def _references(schema: Any) -> Iterator[str]:
    """The references in a schema, those of its definitions left out."""
    todo = [schema]
    while todo:
        part = todo.pop()
        if isinstance(part, dict):
            if "$ref" in part:
                yield part["$ref"]
            todo += [inner for name, inner in parts(part) if name.partition(".")[0] not in DEFINITIONS]


def _within(
    schema: dict[str, Any], alone: tuple[str, ...], lists: tuple[str, ...], maps: tuple[str, ...]
) -> Iterator[tuple[str, Any]]:
    for name in alone:
        if isinstance(schema.get(name), dict | bool):
            yield name, schema[name]
    for name in lists:
        if isinstance(schema.get(name), list):
            yield from ((f"{name}[{at}]", part) for at, part in enumerate(schema[name]))
    for name in maps:
        if isinstance(schema.get(name), dict):
            yield from ((f"{name}.{key}", part) for key, part in schema[name].items())


def _check(schema: dict[str, Any]) -> int:
    """References stay within the schema, and its levels within bounds. Gives the number of patterns."""
    references: set[str] = set()
    patterns = 0
    todo: list[tuple[str, Any, int]] = [("", schema, 1)]
    while todo:
        where, part, level = todo.pop()
        if not isinstance(part, dict):
            continue
        if level > DEEPEST:
            raise SchemaRefused("", f"is nested more than {DEEPEST} levels deep.")
        prefix = f"{where}." if where else ""
        for name in _OF_OTHERS:
            if name in part:
                raise SchemaRefused(f"{prefix}{name}", "cannot be; use `$ref`.")
        if where and isinstance(part.get("$id"), str):
            raise SchemaRefused(f"{prefix}$id", "cannot be: a schema is one document here.")
        if "$ref" in part:
            _check_reference(schema, part["$ref"], f"{prefix}$ref")
            references.add(part["$ref"])
            if len(references) > _MOST_REFERENCES:
                raise SchemaRefused("", f"has more than {_MOST_REFERENCES} different references.")
        patterns += len(_patterns(part))
        if patterns > MOST_PATTERNS:
            raise SchemaRefused("", f"has more than {MOST_PATTERNS} patterns.")
        todo += [(f"{prefix}{name}", inner, level + 1) for name, inner in parts(part)]
    return patterns


def _patterns(schema: dict[str, Any]) -> list[str]:
    named = schema.get("patternProperties")
    found = [schema.get("pattern"), *(named if isinstance(named, dict) else ())]
    return [pattern for pattern in found if isinstance(pattern, str)]


def _check_reference(root: dict[str, Any], reference: object, where: str) -> None:
    if not isinstance(reference, str) or (reference != "#" and not reference.startswith("#/")):
        raise SchemaRefused(where, "must point into the same schema (`#/$defs/…`); nothing is fetched here.")
    try:
        found = target(root, reference)
    except (LookupError, TypeError, ValueError) as error:
        raise SchemaRefused(where, "points to nothing.") from error
    if not isinstance(found, dict | bool):
        raise SchemaRefused(where, "points to what is no schema.")


class _Count:
    """How many schemas are asked about a value.

    Without `inside`: the most that apply to one and the same value, anywhere.
    With it: all that the whole unfolds into, which is infinite with recursion.
    """

    def __init__(self, root: dict[str, Any], *, inside: bool) -> None:
        self._root, self._inside = root, inside
        self._counted: dict[int, float] = {}
        self._under_way: set[int] = set()
        self.most: float = 1
        todo: list[dict[str, Any]] = [root]
        while todo:
            schema = todo.pop()
            self.most = max(self.most, self._of(schema, 1))
            todo += [part for _, part in parts(schema) if isinstance(part, dict)]

    def _of(self, schema: Any, chain: int) -> float:
        if not isinstance(schema, dict):
            return 1
        known = self._counted.get(id(schema))
        if known is not None:
            return known
        if id(schema) in self._under_way:
            if self._inside:
                return math.inf
            raise SchemaRefused("", "refers to itself without end.")
        if chain > _LONGEST_CHAIN:
            raise SchemaRefused("", f"has more than {_LONGEST_CHAIN} schemas that lead to each other.")
        self._under_way.add(id(schema))
        asked = [part for _, part in _within(schema, _SAME, _SAME_LISTS, _SAME_MAPS)]
        if "$ref" in schema:
            asked.append(target(self._root, schema["$ref"]))
        if self._inside:
            asked += [part for _, part in _within(schema, _INSIDE, _INSIDE_LISTS, _INSIDE_MAPS)]
        # With one branch, the schema itself is only passed through.
        count = max(1, sum(self._of(part, chain + 1) for part in asked)) + (1 if self._inside else 0)
        self._under_way.discard(id(schema))
        if count > _MOST_BRANCHES and not self._inside:
            raise SchemaRefused("", f"has more than {_MOST_BRANCHES} alternatives for one value.")
        self._counted[id(schema)] = count
        return count


class _Matching:
    """What it takes at most to hold a value's texts against a schema's patterns.

    Goes the way of a validator that tries everything, without matching anything.
    """

    def __init__(self, root: dict[str, Any]) -> None:
        self._root, self._steps, self._taken = root, 0, 0

    def takes(self, value: Json) -> float:
        """Infinite where even counting takes too long."""
        todo: list[tuple[Any, Json]] = [(self._root, value)]
        while todo:
            schema, held = todo.pop()
            self._steps += 1
            if not isinstance(schema, dict):
                continue
            todo += [(part, held) for _, part in _within(schema, _SAME, _SAME_LISTS, _SAME_MAPS)]
            if "$ref" in schema:
                todo.append((target(self._root, schema["$ref"]), held))
            if isinstance(held, str) and isinstance(schema.get("pattern"), str):
                self._match(schema["pattern"], held)
            elif isinstance(held, dict):
                todo += self._inside_object(schema, held)
            elif isinstance(held, list):
                inner = [part for _, part in _within(schema, ("items", *_OF_ITEMS), _INSIDE_LISTS, ())]
                todo += [(part, one) for part in inner for one in held]
            if self._steps + len(todo) > _MOST_MATCHED_STEPS or self._taken > _MOST_MATCHED:
                return math.inf
        return self._taken

    def _inside_object(self, schema: dict[str, Any], held: dict[str, Any]) -> Iterator[tuple[Any, Json]]:
        for named in ("properties", "patternProperties"):
            for name, part in (schema.get(named) or {}).items():
                if named == "properties":
                    yield from ((part, held[name]) for _ in range(name in held))
                else:
                    for key, one in held.items():
                        self._match(name, key)
                        yield part, one
        for name in _OF_PROPERTIES:
            if isinstance(schema.get(name), dict):
                yield from (
                    (schema[name], one) for one in (held if name == "propertyNames" else held.values())
                )

    def _match(self, pattern: str, text: str) -> None:
        length = len(text) + 1
        self._taken += length if _PLAIN_PATTERN.fullmatch(pattern) else max(length, length * length // 10)


def _levels(value: Json) -> int:
    """How many objects and lists stand within each other."""
    levels, inner = 0, [value]
    while inner := [one for one in inner if isinstance(one, dict | list) and one]:
        levels += 1
        inner = [part for one in inner for part in (one.values() if isinstance(one, dict) else one)]
    return levels


def _first_line(message: str) -> str:
    line = message.partition("\n")[0].rstrip(".")
    return line if len(line) <= 200 else f"{line[:200]}…"
