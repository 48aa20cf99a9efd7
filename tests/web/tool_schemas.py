"""Twenty functions, each with another kind of schema, and something to ask so that it is called."""

from typing import Any

TEXT, WHOLE = {"type": "string"}, {"type": "integer"}


def of(required: list[str] | None = None, **properties: Any) -> dict[str, Any]:
    names = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": names}


# By name: the schema (None: the function has none) and the question.
FUNCTIONS: dict[str, tuple[dict[str, Any] | None, str]] = {
    "get_weather": (of(city=TEXT), "What is the weather in Paris?"),
    "set_unit": (of(unit={"enum": ["celsius", "fahrenheit"]}), "Show me degrees in Fahrenheit."),
    "add": (of(a={"type": "integer", "minimum": 1, "maximum": 10}, b=WHOLE), "Add 2 and 3."),
    "go_to": (
        of(
            lat={"type": "number", "minimum": -90, "maximum": 90},
            lon={"type": "number", "exclusiveMinimum": -180, "maximum": 180},
        ),
        "Go to latitude 52.5, longitude 13.4.",
    ),
    "switch_light": (of(on={"type": "boolean"}), "Turn the light on."),
    "tag": (of(tags={"type": "array", "items": TEXT, "minItems": 1, "maxItems": 3}), "Tag this as a recipe."),
    "add_contact": (
        of(person=of(name=TEXT, address=of(street=TEXT, zip={"type": "string", "pattern": "^\\d{5}$"}))),
        "Add Anna Smith of Mill Street, 12345.",
    ),
    "draw_line": (
        {
            "$defs": {"Point": of(x=WHOLE, y=WHOLE)},
            "type": "object",
            "properties": {"from": {"$ref": "#/$defs/Point"}, "to": {"$ref": "#/$defs/Point"}},
            "required": ["from", "to"],
            "additionalProperties": False,
        },
        "Draw a line from 1, 2 to 3, 4.",
    ),
    "make_chain": (
        {
            "$defs": {"Link": of(size=WHOLE, next={"anyOf": [{"$ref": "#/$defs/Link"}, {"type": "null"}]})},
            "$ref": "#/$defs/Link",
        },
        "Make a chain of two links of size 3.",
    ),
    "find_person": (
        of(who={"oneOf": [of(id=WHOLE), of(email={"type": "string", "format": "email"})]}),
        "Find anna@example.org.",
    ),
    "book": (
        of(day={"type": "string", "format": "date"}, ticket={"type": "string", "format": "uuid"}),
        "Book the 3rd of June 2024.",
    ),
    "order": (
        of(
            code={"type": "string", "pattern": "^[A-Z]{3}-\\d{4}$"},
            colour={"type": "string", "pattern": "^#[0-9a-f]{6}$"},
        ),
        "Order ABC-1234 in black.",
    ),
    "rename": (of(name={"type": "string", "minLength": 2, "maxLength": 20}), "Call it Marigold."),
    "search": (
        of(["q"], q=TEXT, limit={"type": "integer", "minimum": 1, "maximum": 50}, sort={"enum": ["new", 7]})
        | {"additionalProperties": False},
        "Search for bees.",
    ),
    "ring_bell": (None, "Ring the bell."),
    "stop_music": ({"type": "object", "properties": {}}, "Stop the music."),
    "pay": (
        of(
            price={"type": "number", "exclusiveMinimum": 0, "maximum": 100},
            step={"type": "integer", "multipleOf": 5, "minimum": 0, "maximum": 100},
        ),
        "Pay 20 in steps of 5.",
    ),
    "repeat_on": (
        of(
            days={
                "type": "array",
                "items": {"enum": ["mon", "tue", "wed"]},
                "uniqueItems": True,
                "minItems": 1,
                "maxItems": 3,
            }
        ),
        "Repeat it on Monday and Tuesday.",
    ),
    "note": (
        {"allOf": [of(title=TEXT), of(priority={"type": ["integer", "null"]})]},
        "Note: buy milk, priority 2.",
    ),
    "measure": (
        of(
            kind={"const": "length"},
            pair={"type": "array", "prefixItems": [TEXT, WHOLE], "items": False, "minItems": 2},
        ),
        "The table is 3 long.",
    ),
}
