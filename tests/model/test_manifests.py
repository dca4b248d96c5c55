"""YAML and JSON as they are read: one data model for both, and nothing that a later step could trip over."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from issuer.manifests import ManifestError, parse_documents, parse_json, to_yaml

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc-/ .:#\n", max_size=5), inner, max_size=3),
    max_leaves=10,
)


def from_yaml(text: str) -> Any:
    (document,) = parse_documents(text)
    return document


@given(JSON_VALUES.filter(lambda value: value is not None))
def test_what_is_written_as_yaml_is_read_back(value: Any) -> None:
    assert from_yaml(to_yaml(value)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 2027-01-31", {"a": "2027-01-31"}),
        ("a: 2027-01-31T12:00:00Z", {"a": "2027-01-31T12:00:00Z"}),
        ("a: =", {"a": "="}),
        ("<<: {a: 1}", {"<<": {"a": 1}}),
        ("a: ~", {"a": None}),
        ("a: 5m", {"a": "5m"}),
        ('{"a": [true, 1, "x"]}', {"a": [True, 1, "x"]}),
        ("a: b: c".replace("b: ", "b:"), {"a": "b:c"}),
    ],
)
def test_yaml_means_what_json_could_say(text: str, value: Any) -> None:
    assert from_yaml(text) == value


def test_empty_documents_are_left_out() -> None:
    assert parse_documents("---\n---\na: 1\n---\n# nothing\n---\nb: 2\n") == [{"a": 1}, {"b": 2}]
    assert parse_documents("") == []


NESTED_YAML = "[" * 500 + "]" * 500
REFUSED_YAML = {
    "an alias": "a: &x 1\nb: *x",
    "an alias to a collection": "a: &x [1]\nb: *x",
    "a key twice": "a: 1\na: 2",
    "a key twice, deeper": "x:\n- {a: 1, a: 2}",
    "a key that is a number": "1: a",
    "a key that is a boolean": "yes: a",
    "a key that is a list": "? [a]\n: b",
    "a key that is null": "? \n: b",
    "a tag of Python": "!!python/object/apply:os.system [id]",
    "a tag of one's own": "!mine x",
    "binary": "a: !!binary aGk=",
    "a set": "!!set {a, b}",
    "a timestamp by tag": "!!timestamp 2027-01-31",
    "a boolean that is none, by tag": "!!bool maybe",
    "a number that is none, by tag": "!!int x",
    "a number that is empty, by tag": '!!int ""',
    "a float that is empty, by tag": '!!float ""',
    "infinity": "a: .inf",
    "not a number": "a: .nan",
    "a NUL": "a: \0",
    "an escaped NUL": '"\\0"',
    "a lone surrogate": '"\\uD800"',
    "a code point beyond Unicode": '"\\U00110000"',
    "an unclosed bracket": "a: [",
    "a tab as indentation": "a:\n\t- b",
    "too deep": NESTED_YAML,
    "deeper than any object of ours": "[" * 101 + "]" * 101,
}


@pytest.mark.parametrize("text", REFUSED_YAML.values(), ids=list(REFUSED_YAML))
def test_yaml_is_refused_with_one_line(text: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_documents(text)
    assert "\n" not in str(caught.value)
    assert str(caught.value)


REFUSED_JSON = {
    "a key twice": b'{"a": 1, "a": 2}',
    "a key twice, deeper": b'[{"b": {"a": 1, "a": 2}}]',
    "NaN": b"NaN",
    "Infinity": b"[-Infinity]",
    "a number no float can hold": b"[1e999]",
    "an escaped NUL": b'"\\u0000"',
    "a NUL in a key": b'{"\\u0000": 1}',
    "a lone surrogate": b'"\\ud800"',
    "a lone surrogate in a key": b'{"\\udfff": 1}',
    "not UTF-8": b'"\xff"',
    "another encoding with a BOM": b"\xff\xfe{\x00}\x00",
    "UTF-16 without a BOM": '{"a": 1}'.encode("utf-16-le"),
    "an integer of 5000 digits": b"1" * 5000,
    "too deep": b"[" * 100_000 + b"]" * 100_000,
    "deeper than any object of ours": b"[" * 101 + b"]" * 101,
    "deep objects": b'{"a":' * 900 + b"1" + b"}" * 900,
    "two values": b"1 2",
    "a trailing comma": b"[1,]",
    "nothing": b"",
}


@pytest.mark.parametrize("text", REFUSED_JSON.values(), ids=list(REFUSED_JSON))
def test_json_is_refused_with_one_line(text: bytes) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_json(text)
    assert "\n" not in str(caught.value)
    assert str(caught.value)


@pytest.mark.parametrize("parse", [parse_json, lambda data: from_yaml(data.decode())], ids=["JSON", "YAML"])
def test_a_hundred_levels_are_read(parse: Callable[[bytes], Any]) -> None:
    value = parse(b"[" * 100 + b"1" + b"]" * 100)
    for _ in range(100):
        (value,) = value
    assert value == 1


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert parse_json(b'"\\ud83d\\ude00"') == "\U0001f600"


def test_where_a_fault_stands_is_said() -> None:
    with pytest.raises(ManifestError, match="line 2, column 1: the key 'a' stands twice"):
        parse_documents("a: 1\na: 2")
