"""Narrowing: a JSON schema, as the part of it that an engine's grammar can keep to.

Pure. What comes out allows less than what came in wherever that can be said in
a grammar, and leaves out the rest (`not`, `if`, `uniqueItems`, …), so a value
has still to be checked. Its hard rule: nothing leaves here that unfolds in the
engine: repetitions are bounded, and references stay references.

`tight` gives up freedom for certainty: numbers with bounds become whole ones,
lists of different things hold one. It is for a model that failed before.
"""

import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext, suppress
from typing import Any

import msgspec

from llm.tools.patterns import writable
from llm.tools.schemas import SchemaRefused, recursive, target

Node = dict[str, Any]

_MOST_NODES = 4_000
_MOST_WRITTEN = 2**20  # characters of values, names and patterns: each alternative has them again
_MOST_VALUES = 1_000  # of an enum, as OpenAI has it: with 5,000 a call took four times as long
_MOST_REPEATED, _MOST_CHARACTERS, _MOST_MULTIPLES = 64, 500, 100
_DEEPEST_RECURSION = 3  # a small model that has begun does not end by itself
_LARGEST = 2**53
# Formats that llama.cpp has rules for, and narrow patterns for the others that OpenAI documents.
_FORMATS = ("time", "uuid")
# llama.cpp's own rule for a date lets February have 31 days. Here it has 28 in every year.
_DATE = r"[12]\d{3}-((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)|02-(0[1-9]|1\d|2[0-8]))"
_TIME = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(Z|[+-]([01]\d|2[0-3]):[0-5]\d)"
_HOST = r"[a-z][a-z0-9]{0,30}\.(com|org|net|local)"
_FORMAT_PATTERNS = {
    "date": _DATE,
    "date-time": rf"{_DATE}T{_TIME}",
    "email": rf"[a-z0-9]([._-]?[a-z0-9]){{0,30}}@{_HOST}",
    "hostname": _HOST,
    "ipv4": r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(\.(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}",
    "ipv6": r"[0-9a-f]{1,4}(:[0-9a-f]{1,4}){7}",
    "uri": rf"https?://{_HOST}(/[A-Za-z0-9_.-]{{0,60}}){{0,5}}",
    "duration": r"P(\d{1,3}D|T\d{1,3}[HMS])",
}
_OBJECT = ("properties", "required", "additionalProperties", "patternProperties", "minProperties")
_LIST = ("items", "prefixItems", "minItems", "maxItems", "uniqueItems")
_TEXT = ("pattern", "minLength", "maxLength", "format")
_NUMBER = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")


def narrowed(schema: Node, name: str, *, tight: bool = False) -> tuple[Node, dict[str, Node]]:
    """The schema, and the definitions that it refers to as `#/$defs/{name}-1`, `-2`, ….

    Raises SchemaRefused where it grows beyond what an engine should be given.
    """
    narrowing = _Narrowing(schema, name, tight=tight)
    return narrowing.whole(schema), narrowing.definitions()


class _CutOff(Exception):
    """Recursion has gone as deep as it may."""


class _Narrowing:
    def __init__(self, root: Node, name: str, *, tight: bool) -> None:
        self._root, self._name, self._tight = root, name, tight
        self._nodes = self._written = 0
        self._named: dict[tuple[str, int], str] = {}  # a reference at a level, and its definition's name
        self._recursive = recursive(root)
        self._level, self._deepest = 0, 1 if tight else _DEEPEST_RECURSION
        self._cutting = True

    def definitions(self) -> dict[str, Node]:
        written: dict[str, Node] = {}
        while len(written) < len(self._named):  # each may refer to more
            for (reference, level), name in list(self._named.items()):
                if name not in written:
                    self._level = level
                    written[name] = self.whole(target(self._root, reference))
        return written

    def whole(self, schema: Any) -> Node:
        """With recursion cut off where that leaves something, and as it is where it does not."""
        try:
            return self.of(schema)
        except _CutOff:
            self._cutting = False
            try:
                return self.of(schema)
            finally:
                self._cutting = True

    def _reference(self, reference: str) -> Node:
        level = self._level + (reference in self._recursive)
        if level > self._deepest:
            if self._cutting:
                raise _CutOff
            level = self._deepest
        name = self._named.setdefault((reference, level), f"{self._name}-{len(self._named) + 1}")
        return {"$ref": f"#/$defs/{name}"}

    def _spend(self, *, nodes: int = 0, written: int = 0) -> None:
        """To be told before anything grows."""
        self._nodes, self._written = self._nodes + nodes, self._written + written
        if self._nodes > _MOST_NODES or self._written > _MOST_WRITTEN:
            raise SchemaRefused("", "is too large for a model to be held to.")

    def _counted(self, node: Node) -> Node:
        self._spend(written=len(msgspec.json.encode(node)))
        return node

    def of(self, schema: Any) -> Node:
        self._spend(nodes=1)
        if not isinstance(schema, dict):
            return {}
        if "$ref" in schema and (
            # What leads back to itself cannot be written out where it stands: its company is left out.
            schema["$ref"] in self._recursive or not set(schema) & {"allOf", *_TELLING}
        ):
            return self._reference(schema["$ref"])
        if "allOf" in schema or "$ref" in schema:
            return self.of(self._merged(schema))
        return self._plain(schema)

    def _plain(self, schema: Node) -> Node:
        if len(schema.get("enum") or ()) > _MOST_VALUES:
            raise SchemaRefused("", f"has an `enum` of more than {_MOST_VALUES} values.")
        if "const" in schema or schema.get("enum"):
            return self._counted({name: schema[name] for name in ("const", "enum") if name in schema})
        for name in ("anyOf", "oneOf"):
            if alternatives := [one for one in schema.get(name) or () if one is not False]:
                rest = {key: value for key, value in schema.items() if key != name}
                # One after the other: what they have in common is in each of them.
                return {"anyOf": self._some(self._both(rest, one) for one in alternatives)}
        kind = schema.get("type") or _told_by(schema)
        if isinstance(kind, list):
            return {"anyOf": [self._of_type(str(one), schema) for one in kind]}
        return self._of_type(kind, schema)

    def _some(self, alternatives: Iterable[Any]) -> list[Node]:
        """Those of them that end."""
        found = []
        for one in alternatives:
            with suppress(_CutOff):
                found.append(self.of(one))
        if not found:
            raise _CutOff
        return found

    def _merged(self, schema: Node) -> Node:
        """Without `allOf`, and without a reference that has company."""
        whole: Node = {key: value for key, value in schema.items() if key not in ("allOf", "$ref")}
        others = list(schema.get("allOf") or ())
        if "$ref" in schema:
            others.append(target(self._root, schema["$ref"]))
        for other in others:
            whole = self._both(whole, other)
        return whole

    def _both(self, one: Node, other: Any) -> Node:
        """What satisfies `one` and `other`, as far as it can be said in one schema."""
        if not isinstance(other, dict):
            return one
        if not set(one) & _TELLING or other.get("$ref") in self._recursive:
            return dict(other) if "$ref" in other else one | other
        if "$ref" in other or "allOf" in other:
            other = self._merged(other)
        both: Node = one | other
        for name, joined in _JOINED.items():
            if name in one and name in other:
                both[name] = joined(one[name], other[name])
        return both

    def _of_type(self, kind: str | None, schema: Node) -> Node:
        bounded = self._tight and any(name in schema for name in _NUMBER)
        if kind == "integer" or (kind == "number" and bounded):
            return self._counted(_whole(schema, tight=self._tight))
        if kind == "string":
            return self._counted(_text(schema))
        written = {"object": self._object, "array": self._list}.get(kind or "")
        if written is not None:
            return written(schema)
        bounds = {
            name: schema[name] for name in _NUMBER[:4] if kind == "number" and _finite(schema.get(name))
        }
        return {} if kind is None else {"type": kind} | bounds

    def _object(self, schema: Node) -> Node:
        given = schema.get("properties")
        required = dict.fromkeys(name for name in schema.get("required") or () if isinstance(name, str))
        undescribed = [name for name in required if name not in (given or ())]
        self._spend(nodes=len(undescribed), written=sum(map(len, (*required, *undescribed, *(given or ())))))
        properties: Node = {}
        for name, part in (given or {}).items():
            with nullcontext() if name in required else suppress(_CutOff):
                properties |= {} if part is False else {name: self.of(part)}
        properties |= {name: {} for name in required if name not in properties}
        if self._tight and required:  # what may be left out can only be wrong
            properties = {name: part for name, part in properties.items() if name in required}
        more = schema.get("additionalProperties")
        if properties or given is not None:
            return {
                "type": "object",
                "properties": properties,
                "required": list(required),
                "additionalProperties": False,
            }
        return {"type": "object"} | (
            {"additionalProperties": self.of(more)} if isinstance(more, dict) else {}
        )

    def _list(self, schema: Node) -> Node:
        first, each = schema.get("prefixItems"), schema.get("items")
        if isinstance(each, list):  # as drafts before 2020 wrote it
            first, each = each, None
        if first:
            return {"type": "array", "prefixItems": [self.of(one) for one in first]}
        low, high = schema.get("minItems") or 0, schema.get("maxItems")
        if schema.get("uniqueItems") and self._tight:
            high = max(1, low)
        if each is False:
            high = 0
        bounds = {"minItems": min(int(low), _MOST_REPEATED)} if low else {}
        if high is not None and high <= _MOST_REPEATED:
            bounds["maxItems"] = int(high)
        try:
            return {"type": "array", "items": self.of(each)} | bounds
        except _CutOff:
            if low:
                raise
            return {"type": "array", "items": {}, "maxItems": 0}


def _text(schema: Node) -> Node:
    format_, pattern = schema.get("format"), None
    if isinstance(schema.get("pattern"), str):
        pattern = writable(schema["pattern"])
    elif format_ in _FORMATS:
        return {"type": "string", "format": format_}
    elif format_ in _FORMAT_PATTERNS:
        pattern = writable(_FORMAT_PATTERNS[format_])
    if pattern is not None:
        return {"type": "string", "pattern": pattern}
    lengths = {name: schema.get(name) for name in ("minLength", "maxLength")}
    return {"type": "string"} | {
        name: int(length)
        for name, length in lengths.items()
        if length is not None and length <= _MOST_CHARACTERS
    }


def _whole(schema: Node, *, tight: bool) -> Node:
    """Whole numbers within the bounds of a schema."""
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    over, under = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if isinstance(over, int | float) and not isinstance(over, bool):
        low = max(low, math.floor(over) + 1)
    if isinstance(under, int | float) and not isinstance(under, bool):
        high = min(high, math.ceil(under) - 1)
    low = -math.inf if low <= -_LARGEST else math.ceil(low)
    high = math.inf if high >= _LARGEST else math.floor(high)
    if low > high:  # no whole number, but perhaps another
        ends = [schema[name] for name in _NUMBER[:4] if name in schema]
        return {"enum": [sum(ends) / len(ends)]}
    step = schema.get("multipleOf")
    if step and step != 1 and (tight or high - low <= step * _MOST_MULTIPLES):
        start = math.ceil((low if low > -math.inf else 0) / step)
        multiples = [at * step for at in range(start, start + _MOST_MULTIPLES) if at * step <= high]
        return {"enum": multiples} if multiples else {"type": "integer"}
    bounds = {"minimum": low} if low > -math.inf else {}
    return {"type": "integer"} | bounds | ({"maximum": high} if high < math.inf else {})


def _finite(bound: object) -> bool:
    return isinstance(bound, int | float) and abs(bound) < _LARGEST


def _told_by(schema: Node) -> str | None:
    """The type that a schema without one speaks of."""
    for kind, names in (("object", _OBJECT), ("array", _LIST), ("string", _TEXT), ("number", _NUMBER)):
        if any(name in schema for name in names):
            return kind
    return None


def _sooner(one: Any, other: Any) -> Any:
    if not isinstance(one, list) or not isinstance(other, list):
        return one
    others = set(map(msgspec.json.encode, other))
    return [value for value in one if msgspec.json.encode(value) in others]


_JOINED: dict[str, Callable[[Any, Any], Any]] = {
    "properties": lambda one, other: one | other,
    "required": lambda one, other: list(dict.fromkeys([*one, *other])),
    "enum": _sooner,
    "type": _sooner,
    "minimum": max,
    "maximum": min,
    "minLength": max,
    "maxLength": min,
    "minItems": max,
    "maxItems": min,
}
_TELLING = frozenset({"type", "const", "enum", "anyOf", "oneOf", *_OBJECT, *_LIST, *_TEXT, *_NUMBER})
