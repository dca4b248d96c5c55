"""The fields of a schema as rows for people: path, type, default, meaning."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from issuer.reference.schemas import component_schemas


@dataclass(frozen=True, slots=True)
class FieldRow:
    """One field. `default` is empty where there is none."""

    path: str
    type: str
    required: bool
    default: str
    meaning: str


def field_rows(schema_name: str, prefix: str = "") -> Iterator[FieldRow]:
    """Every field of a component schema, those of its parts behind it."""
    schema = component_schemas()[schema_name]
    for name, field in schema.get("properties", {}).items():
        path = f"{prefix}{name}"
        part, suffix = _part_of(field)
        required = name in schema.get("required", ())
        # pydantic leaves a description out that its part has too.
        meaning = field.get("description") or component_schemas().get(part, {}).get("description", "")
        yield FieldRow(path, _type_of(field), required, _default_of(field), meaning)
        if part:
            yield from field_rows(part, f"{path}{suffix}.")


def _part_of(field: dict[str, Any]) -> tuple[str, str]:
    """The schema that a field consists of, and how its path says so."""
    items = field.get("items", {})
    for schema, suffix in ((field, ""), (items, "[]")):
        for each in (schema, *schema.get("allOf", ())):
            if "$ref" in each:
                return each["$ref"].rpartition("/")[2], suffix
    return "", ""


def _type_of(field: dict[str, Any]) -> str:
    if "enum" in field:
        *some, last = (f"`{each}`" for each in field["enum"])
        return f"{', '.join(some)} or {last}" if some else last
    if field.get("type") == "array":
        return _with_bounds(f"list of {_plural(field.get('items', {}))}", field)
    if field.get("type") == "object" and isinstance(values := field.get("additionalProperties"), dict):
        return _with_bounds(f"map to {_plural(values)}", field)
    if field.get("format") == "date-time":
        return "time (RFC 3339)"
    if "allOf" in field or "$ref" in field:
        return "object"
    return _with_bounds(field.get("type", "anything"), field)


def _plural(items: dict[str, Any]) -> str:
    if "enum" in items:
        return _type_of(items)
    return {"string": "strings", "integer": "integers"}.get(items.get("type", ""), "objects")


def _with_bounds(text: str, field: dict[str, Any]) -> str:
    units = (
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", ""),
        ("minimum", "maximum", ""),
        ("", "maxProperties", ""),
    )
    for least, most, unit in units:
        low, high = field.get(least), field.get(most)
        if low is not None and high is not None:
            return f"{text}, {low} to {high}{unit}"
        if high is not None:
            return f"{text}, at most {high}{unit}"
    return text


def _default_of(field: dict[str, Any]) -> str:
    default = field.get("default")
    # The parts of an object say their own defaults.
    return "" if default in (None, "", []) or isinstance(default, dict) else json.dumps(default)
