"""YAML and JSON text becomes JSON values, or a clear error: what people write, before anyone asks what it means.

YAML is narrowed to JSON's data model, so that a manifest means the same whether it comes as YAML or as JSON: a timestamp
stays a string, keys are strings, a key stands once, aliases (and with them exponential documents) are refused.
"""

import json
from math import isfinite
from typing import Any, cast

import yaml

MAX_DEPTH = 100
"""Objects and lists inside each other; nothing of ours needs ten."""
MAX_BODY_BYTES = 1_048_576
"""Of one request to the admin port."""
MAX_YAML_BYTES = 131_072
"""Of one written as YAML, which Python code reads two hundred times slower than JSON, on the loop that tokens are issued on."""
_TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"


class ManifestError(Exception):
    """The text is not one the product reads; the message says where and why."""


class _JsonLoader(yaml.SafeLoader):
    """PyYAML's safe loader without anything JSON could not say, and with an end to its depth."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not accepted", event.start_mark)
        # A scalar may stand one deeper. Each level makes PyYAML's scanner slower, so this cannot wait for the whole text.
        if self._depth > MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, _TOO_DEEP, self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set[str]()
        for key_node, _ in node.value:
            key = key_node.value
            if not isinstance(key, str) or key_node.tag != "tag:yaml.org,2002:str":
                raise yaml.constructor.ConstructorError(None, None, "a key must be a string", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return cast("dict[Any, Any]", super().construct_mapping(node, deep))


# Without the resolvers for timestamps, merge keys and `=`: these are plain strings in JSON.
_JsonLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] in {"bool", "int", "float", "null"}]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag in ("timestamp", "set", "omap", "pairs", "binary"):
    _JsonLoader.add_constructor(f"tag:yaml.org,2002:{_tag}", yaml.SafeLoader.construct_undefined)  # type: ignore[type-var]


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, but for line breaks that only YAML sees in a text: they are written as escapes."""

    def represent_text(self, text: str) -> yaml.Node:
        """The node of a string."""
        return self.represent_scalar("tag:yaml.org,2002:str", text, style='"' if _YAML_BREAKS & set(text) else None)


_YAML_BREAKS = frozenset("\x85\u2028\u2029")
_Dumper.add_representer(str, _Dumper.represent_text)


def parse_documents(text: str) -> list[Any]:
    """Every document of a YAML stream (JSON is YAML), empty ones left out. Raises ManifestError."""
    try:
        documents = [each for each in yaml.load_all(text, Loader=_JsonLoader) if each is not None]
        for document in documents:
            _refuse_unstorable(document)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ManifestError(f"{where}{error.problem}") from None
    except (KeyError, IndexError):
        # PyYAML's own readers of `!!bool maybe` and `!!int ""`.
        raise ManifestError("a value does not fit its tag") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ManifestError(_one_line(error)) from None
    return documents


def parse_json(data: bytes) -> Any:
    """The value of a JSON text, a key at most once in each object. Raises ManifestError."""
    try:
        # RFC 8259 section 8.1: UTF-8, not whatever `json` would guess from the first bytes.
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
        _refuse_unstorable(value)
    except (ValueError, RecursionError) as error:
        raise ManifestError(_one_line(error)) from None
    return value


def to_yaml(value: Any) -> str:
    """The value as block YAML, keys in the order given."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _refuse_unstorable(value: Any, depth: int = 0) -> None:
    """What would fail only later, as a 500 (django-oauth-toolkit #1006).

    PostgreSQL's jsonb has no NUL, UTF-8 no lone surrogate, JSON no infinity, and Python's stack an end.
    """
    if depth == MAX_DEPTH and isinstance(value, dict | list):
        raise ValueError(_TOO_DEEP)
    if isinstance(value, float) and not isfinite(value):
        raise ValueError("a number is too large, or none")
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError("text must not contain NUL or lone surrogates")
    elif isinstance(value, dict):
        for key, each in value.items():
            _refuse_unstorable(key, depth)
            _refuse_unstorable(each, depth + 1)
    elif isinstance(value, list):
        for each in value:
            _refuse_unstorable(each, depth + 1)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen = set[str]()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"the key {name!r} stands twice")
            seen.add(name)
    return result


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _one_line(error: Exception) -> str:
    return _TOO_DEEP if isinstance(error, RecursionError) else str(error).splitlines()[0]
