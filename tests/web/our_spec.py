"""Our own description of /v1, as a test of what is sent there."""

from copy import deepcopy
from functools import cache
from typing import Any

import jsonschema_rs

from tests.running import Appliance


@cache
def described(house: Appliance) -> dict[str, Any]:
    status, document = house.get("/api/schema/openapi.json")
    assert status == 200
    return dict(document)


def operations(house: Appliance) -> dict[str, Any]:
    paths = described(house)["paths"]
    return {path: told.get("post") or told["get"] for path, told in paths.items() if path.startswith("/v1/")}


def strict(house: Appliance, path: str, media_type: str, status: str = "200") -> jsonschema_rs.Validator:
    """Of what is sent: a field that is not described is wrong."""
    schema = operations(house)[path]["responses"][status]["content"][media_type]["schema"]
    components = deepcopy(described(house)["components"])
    for shape in components["schemas"].values():
        if "properties" in shape:
            shape["additionalProperties"] = False
    return jsonschema_rs.validator_for({**schema, "components": components})


def assert_described(validator: jsonschema_rs.Validator, answer: Any) -> None:
    problems = [
        f"{'/'.join(map(str, e.instance_path))}: {e.message[:300]}" for e in validator.iter_errors(answer)
    ]
    assert not problems, "; ".join(problems)
