"""What a JSON Schema can say of a value that code checks: for the OpenAPI document and the reference, never for validation."""

from pydantic import Field, WithJsonSchema

READ_ONLY = Field(json_schema_extra={"readOnly": True})
"""A field that only the issuer writes. Sent along it is ignored, so that what was read can be written back."""

UNIQUE = Field(json_schema_extra={"uniqueItems": True})
"""A list without repeats."""


def shaped(
    pattern: str = "", *, shortest: int = 0, longest: int | None = None, or_null: bool = False
) -> WithJsonSchema:
    """A string's pattern and lengths. The pattern is anchored, and ECMA 262 and RE2 read it too."""
    parts = {"type": "string", "pattern": pattern, "minLength": shortest, "maxLength": longest}
    said = {key: value for key, value in parts.items() if value}
    return WithJsonSchema({"anyOf": [said, {"type": "null"}]} if or_null else said)
