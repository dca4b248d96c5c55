"""Schemas of pydantic's (JSON Schema 2020-12) in the dialect of OpenAPI 3.0.3.

3.0 and not 3.1, because that is what the tools of our users read: kubectl, and the generators for Go. Two things that a 3.1
schema could say are lost: the patterns of map keys, and null beside another type, which becomes `nullable`.
"""

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]


def in_openapi_3_0(schema: Mapping[str, Any]) -> Schema:
    """The same with the keywords of 3.0.3, its parts too. Titles are left out: they only repeat names."""
    said = _without_newer_keywords({name: value for name, value in schema.items() if name != "title"})
    if "properties" in said:
        said["properties"] = {name: in_openapi_3_0(each) for name, each in said["properties"].items()}
    for name in ("items", "additionalProperties"):
        if isinstance(said.get(name), dict):
            said[name] = in_openapi_3_0(said[name])
    if "$ref" in said:
        # What is left out of an object is what its parts say; generators know no default of a whole one.
        said.pop("default", None)
        if len(said) > 1:
            said = {"allOf": [{"$ref": said.pop("$ref")}], **said}
    return said


def _without_newer_keywords(said: Schema) -> Schema:
    if said.get("default", ...) is None:
        del said["default"]
    if "const" in said:
        said["enum"] = [said.pop("const")]
    if "patternProperties" in said:
        (said["additionalProperties"],) = said.pop("patternProperties").values()
        del said["propertyNames"]
    if "anyOf" in said:
        # `X | None` is all there is. `nullable` wants a type beside it.
        (other,) = (each for each in said.pop("anyOf") if each != {"type": "null"})
        other = {"type": "object", "allOf": [other]} if "$ref" in other else in_openapi_3_0(other)
        said = {**other, **said, "nullable": True}
    return said
