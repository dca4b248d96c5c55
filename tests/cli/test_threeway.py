"""The three-way merge, values in and values out: whose word counts for which field."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from issuer.cli.threeway import is_same, stays_disabled, three_way_patch
from issuer.model.mergepatch import merge_patch

Path = tuple[str, ...]

LEAVES = st.sampled_from([0, 1, True, False, "x", [], [1, {"a": 1}], {}])
NAMES = st.sampled_from("abc")


def objects(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    values = st.recursive(leaves, lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=8)
    return st.dictionaries(NAMES, values, max_size=3)


LIVE = objects(LEAVES)
MANIFEST = objects(LEAVES | st.none())


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value that is no object, or an empty one, by its path."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    elif path:
        yield path, value


def there(document: Any, path: Path) -> bool:
    for name in path:
        if not isinstance(document, dict) or name not in document:
            return False
        document = document[name]
    return True


def at(document: Any, path: Path) -> Any:
    for name in path:
        document = document[name]
    return document


def touches(one: Path, other: Path) -> bool:
    """Whether one is the other or lies within it."""
    return all(a == b for a, b in zip(one, other, strict=False))


@given(MANIFEST, MANIFEST, LIVE)
def test_applying_twice_is_unchanged(applied: Any, wanted: Any, live: Any) -> None:
    once = merge_patch(live, three_way_patch(applied, wanted, live))
    assert three_way_patch(wanted, wanted, once) == {}


@given(MANIFEST, MANIFEST, LIVE)
def test_the_result_says_everything_the_manifest_says_and_nothing_it_nulls(
    applied: Any, wanted: Any, live: Any
) -> None:
    result = merge_patch(live, three_way_patch(applied, wanted, live))
    assert is_same(merge_patch(result, wanted), result)


@given(MANIFEST, MANIFEST, LIVE)
def test_fields_only_others_set_survive(applied: Any, wanted: Any, live: Any) -> None:
    result = merge_patch(live, three_way_patch(applied, wanted, live))
    named = [path for path, _ in (*leaves(applied), *leaves(wanted))]
    for path, value in leaves(live):
        if not any(touches(path, other) for other in named):
            assert is_same(at(result, path), value)


@given(MANIFEST, MANIFEST, LIVE)
def test_fields_dropped_from_the_manifest_vanish(applied: Any, wanted: Any, live: Any) -> None:
    result = merge_patch(live, three_way_patch(applied, wanted, live))
    for path, value in leaves(applied):
        if value != {} and not there(wanted, path):
            assert not there(result, path)


@given(MANIFEST, MANIFEST, LIVE)
def test_nothing_is_sent_that_changes_nothing(applied: Any, wanted: Any, live: Any) -> None:
    patch = three_way_patch(applied, wanted, live)
    assert patch == {} or not is_same(merge_patch(live, patch), live)


@pytest.mark.parametrize(
    ("applied", "wanted", "live", "patch"),
    [
        pytest.param({}, {"a": 1}, {"a": 1}, {}, id="what is so already is not sent"),
        pytest.param({}, {"a": True}, {"a": 1}, {"a": True}, id="true is not 1"),
        pytest.param({"a": 1}, {}, {"a": 2}, {"a": None}, id="what was dropped goes, whatever it is by now"),
        pytest.param({"a": 1}, {}, {}, {}, id="what was dropped and is gone is not sent"),
        pytest.param({}, {"a": [1]}, {"a": [1, 2]}, {"a": [1]}, id="a list is replaced whole"),
        pytest.param({}, {"a": None}, {"a": 1}, {"a": None}, id="null removes what others set"),
        pytest.param({}, {"a": None}, {}, {}, id="null of nothing is nothing"),
        pytest.param(
            {"labels": {"a": 1}}, {}, {"labels": {"a": 1, "b": 2}}, {"labels": {"a": None}}, id="labels of others stay"
        ),
        pytest.param({"labels": {"a": 1}}, {}, {"labels": {"a": 1}}, {"labels": None}, id="what is emptied goes whole"),
        pytest.param({"a": {"b": 1}}, {"a": {"b": 2}}, {"a": 5}, {"a": {"b": 2}}, id="an object replaces a value"),
    ],
)
def test_the_patch(applied: Any, wanted: Any, live: Any, patch: Any) -> None:
    assert three_way_patch(applied, wanted, live) == patch


def account(**spec: Any) -> dict[str, Any]:
    return {"kind": "ServiceAccount", "spec": spec}


SILENT, OFF, ON = account(), account(disabled=False), account(disabled=True)


@pytest.mark.parametrize(
    ("applied", "wanted", "stays"),
    [
        pytest.param(SILENT, SILENT, True, id="the manifest never spoke of it"),
        pytest.param(OFF, OFF, True, id="the manifest says false as it always did"),
        pytest.param(OFF, SILENT, True, id="the manifest stopped saying false, which is not saying true"),
        pytest.param(None, SILENT, True, id="nothing was applied before"),
        pytest.param(None, OFF, True, id="nobody knows whether false is new"),
        pytest.param(SILENT, OFF, False, id="the manifest says false for the first time"),
        pytest.param(ON, OFF, False, id="the manifest disabled it and enables it again"),
        pytest.param(ON, SILENT, False, id="the manifest disabled it and dropped that"),
        pytest.param(OFF, ON, False, id="the manifest disables it too"),
    ],
)
def test_a_responders_disabled_stays_unless_the_manifest_says_something_new(
    applied: Any, wanted: Any, *, stays: bool
) -> None:
    assert stays_disabled(applied, wanted, ON) is stays
    assert not stays_disabled(applied, wanted, OFF)
    assert not stays_disabled(applied, wanted, {**ON, "kind": "Scope"})
