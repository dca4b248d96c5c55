"""`metadata` and the frame of a manifest: names, labels, what may be sent along, and what is unknown."""

from typing import Any

import pytest

from issuer.model.faults import Fault
from issuer.model.kinds import KINDS, NAMESPACE, SCOPE, SERVICE_ACCOUNT, Kind, Manifest, kind_named, parse_manifest
from issuer.protocol.authentication import METHODS

REFERENCE = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}


def parse(kind: Kind, document: Any, *, namespace: str = "", name: str | None = None) -> Manifest:
    return parse_manifest(kind, document, namespace=namespace, name=name, methods=frozenset(METHODS))


def causes_of(kind: Kind, document: Any, *, namespace: str = "", name: str | None = None) -> list[tuple[str, str]]:
    with pytest.raises(Fault) as caught:
        parse(kind, document, namespace=namespace, name=name)
    assert caught.value.reason.code == 422
    return [(cause.field, cause.reason) for cause in caught.value.causes]


def scope(**metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "x", **metadata}, "spec": {"scope": "x"}}


@pytest.mark.parametrize("name", ["a", "0", "a-b", "a.b", "a--b", "x" * 63])
def test_a_dns_1123_name_is_accepted(name: str) -> None:
    assert parse(SCOPE, {"metadata": {"name": name}, "spec": {"scope": "x"}}).metadata.name == name


@pytest.mark.parametrize("name", ["A", "a_b", "-a", "a-", ".a", "a.", "a..b", "a/b", "ä", "a\n", "a b", "x" * 254])
def test_another_name_is_refused(name: str) -> None:
    (cause,) = causes_of(SCOPE, {"metadata": {"name": name}, "spec": {"scope": "x"}})
    assert cause[0] == "metadata.name"


@pytest.mark.parametrize(
    ("kind", "longest"), [(NAMESPACE, 63), (SERVICE_ACCOUNT, 237), (SCOPE, 253)], ids=["Namespace", "account", "other"]
)
def test_the_longest_name_of_a_kind(kind: Kind, longest: int) -> None:
    assert kind.accepts_name("x" * longest)
    assert not kind.accepts_name("x" * (longest + 1))


def test_a_namespace_is_a_label_without_dots() -> None:
    assert causes_of(NAMESPACE, {"metadata": {"name": "a.b"}}) == [("metadata.name", "FieldValueInvalid")]


@pytest.mark.parametrize("labels", [{"team": "a_B.c-1"}, {"example.com/team": ""}, {"k" * 63: "v" * 63}])
def test_a_label_is_accepted(labels: dict[str, str]) -> None:
    assert parse(SCOPE, scope(labels=labels)).metadata.labels == labels


@pytest.mark.parametrize(
    ("labels", "field"),
    [
        ({"k" * 64: "x"}, f"metadata.labels.{'k' * 64}"),
        ({"/x": "x"}, "metadata.labels./x"),
        ({"EXAMPLE.com/x": "x"}, "metadata.labels.EXAMPLE.com/x"),
        ({"x": "v" * 64}, "metadata.labels.x"),
        ({"x": "-v"}, "metadata.labels.x"),
        ({"x": "a b"}, "metadata.labels.x"),
        ({"x": 1}, "metadata.labels.x"),
        ({"x": None}, "metadata.labels.x"),
    ],
    ids=["key of 64", "empty prefix", "prefix in capitals", "value of 64", "value from a dash", "space", "int", "null"],
)
def test_a_label_is_refused(labels: dict[str, Any], field: str) -> None:
    assert [cause for cause, _ in causes_of(SCOPE, scope(labels=labels))] == [field]


def test_annotations_are_bounded_together() -> None:
    assert parse(SCOPE, scope(annotations={"a": "x" * 262_143})).metadata.annotations
    assert causes_of(SCOPE, scope(annotations={"a": "x" * 262_144})) == [("metadata.annotations", "FieldValueTooLong")]


@pytest.mark.parametrize(
    "version", ["", "01", "-1", "1.0", "abc", "9" * 19, 7], ids=["empty", "01", "-1", "1.0", "abc", "19 digits", "int"]
)
def test_a_resource_version_we_never_wrote_is_refused(version: Any) -> None:
    (cause,) = causes_of(SCOPE, scope(resourceVersion=version), name="x")
    assert cause[0] == "metadata.resourceVersion"


def test_what_the_issuer_owns_may_be_sent_back() -> None:
    sent = scope(
        uid="u",
        resourceVersion="7",
        generation=3,
        creationTimestamp="2027-01-31T12:00:00Z",
        deletionTimestamp=None,
        deletionGracePeriodSeconds=0,
        managedFields=[{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}],
        selfLink="/x",
        ownerReferences=[{**REFERENCE, "controller": True, "blockOwnerDeletion": False}],
        finalizers=["example.com/wait"],
    )
    assert parse(SCOPE, {**sent, "status": {"anything": 1}}, name="x").metadata.finalizers == ["example.com/wait"]


@pytest.mark.parametrize(
    ("document", "causes"),
    [
        ({"metadata": {"name": "x", "generateName": "y"}}, [("metadata.generateName", "FieldValueForbidden")]),
        (
            {"metadata": {"name": "x", "ownerReferences": [{**REFERENCE, "owner": 1}]}},
            [("metadata.ownerReferences[0].owner", "FieldValueForbidden")],
        ),
        (
            {"metadata": {"name": "x", "owner_references": []}},
            [("metadata.owner_references", "FieldValueForbidden")],
        ),
        ({"metadata": {"name": "x"}, "Spec": {}}, [("Spec", "FieldValueForbidden")]),
        ({"metadata": {"name": "x"}, "spec": {"x": 1, "finalizers": []}}, [("spec.x", "FieldValueForbidden")]),
        ({"metadata": {"name": "x"}, "spec": [1]}, [("spec", "FieldValueTypeInvalid")]),
        ({"metadata": []}, [("metadata", "FieldValueTypeInvalid")]),
        ({"metadata": None}, [("metadata.name", "FieldValueRequired")]),
        ({"metadata": {"name": None}}, [("metadata.name", "FieldValueTypeInvalid")]),
        ({"metadata": {"name": 1}}, [("metadata.name", "FieldValueTypeInvalid")]),
        ({"apiVersion": 1, "metadata": {"name": "x"}}, [("apiVersion", "FieldValueInvalid")]),
        ({"kind": None, "metadata": {"name": "x"}}, [("kind", "FieldValueInvalid")]),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_frame_with_a_fault_names_it(document: Any, causes: list[tuple[str, str]]) -> None:
    assert causes_of(NAMESPACE, document) == causes


@pytest.mark.parametrize("spec", [[], "text", 1, True], ids=str)
def test_a_spec_that_is_no_object_is_one_fault(spec: Any) -> None:
    assert causes_of(SCOPE, {"metadata": {"name": "x"}, "spec": spec}) == [("spec", "FieldValueTypeInvalid")]


@pytest.mark.parametrize("document", [None, [], "text", 1])
def test_a_body_that_is_no_object_is_a_bad_request(document: Any) -> None:
    with pytest.raises(Fault) as caught:
        parse(SCOPE, document)
    assert caught.value.reason.code == 400


def test_name_and_namespace_must_be_those_of_the_path() -> None:
    document = {"metadata": {"name": "x", "namespace": "a"}, "spec": {"scopes": ["s"]}}
    assert parse(SERVICE_ACCOUNT, document, namespace="a", name="x").metadata.namespace == "a"
    assert causes_of(SERVICE_ACCOUNT, document, namespace="b", name="y") == [
        ("metadata.name", "FieldValueInvalid"),
        ("metadata.namespace", "FieldValueInvalid"),
    ]


def test_a_cluster_scoped_object_has_no_namespace() -> None:
    assert causes_of(SCOPE, scope(namespace="a")) == [("metadata.namespace", "FieldValueInvalid")]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_people_may_call_a_kind_by_each_of_its_names(kind: Kind) -> None:
    assert {kind_named(name) for name in (kind.kind, kind.plural, kind.kind.lower(), *kind.short)} == {kind}
