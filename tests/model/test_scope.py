"""Scope and KeySet: the catalogue's entries, field by field."""

from typing import Any

import pytest

from issuer.model.faults import Fault
from issuer.model.kinds import KEY_SET, SCOPE, Kind, parse_manifest


def spec_of(kind: Kind, spec: dict[str, Any]) -> dict[str, Any]:
    document = {"metadata": {"name": "x"}, "spec": spec}
    return dict(parse_manifest(kind, document, namespace="", name=None, methods=frozenset()).spec)


def faults(kind: Kind, spec: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(Fault) as caught:
        spec_of(kind, spec)
    return [(cause.field, cause.reason) for cause in caught.value.causes]


DEFAULTS = {"scope": "api:x", "risk": "read", "requires": {"senderConstraint": "none", "approval": False}}


def test_omitted_fields_of_a_scope_have_their_defaults() -> None:
    assert spec_of(SCOPE, {"scope": "api:x"}) == DEFAULTS


@pytest.mark.parametrize(
    "spec",
    [
        {"description": "reads x"},
        {"audiences": []},
        {"audiences": ["https://a.example"]},
        {"risk": "write"},
        {"risk": "destructive"},
        {"maxAccessTokenTTL": "10s"},
        {"requires": {"senderConstraint": "dpop", "approval": True}},
    ],
    ids=str,
)
def test_a_scope_accepts(spec: dict[str, Any]) -> None:
    assert spec_of(SCOPE, {"scope": "api:x", **spec}) == {**DEFAULTS, **spec}


@pytest.mark.parametrize(
    ("spec", "cause"),
    [
        ({"scope": "a b"}, ("spec.scope", "FieldValueInvalid")),
        ({"scope": "api:*"}, ("spec.scope", "FieldValueInvalid")),
        ({"scope": "issuer:"}, ("spec.scope", "FieldValueForbidden")),
        ({"scope": "issuer:admin"}, ("spec.scope", "FieldValueForbidden")),
        ({"description": ""}, ("spec.description", "FieldValueInvalid")),
        ({"audiences": ["a", "a"]}, ("spec.audiences", "FieldValueDuplicate")),
        ({"audiences": ["a", " "]}, ("spec.audiences[1]", "FieldValueInvalid")),
        ({"risk": "some"}, ("spec.risk", "FieldValueNotSupported")),
        ({"maxAccessTokenTTL": "25h"}, ("spec.maxAccessTokenTTL", "FieldValueInvalid")),
        ({"max_access_token_ttl": "5m"}, ("spec.max_access_token_ttl", "FieldValueForbidden")),
        ({"requires": {"approval": 1}}, ("spec.requires.approval", "FieldValueTypeInvalid")),
        (
            {"requires": {"senderConstraint": "tls"}},
            ("spec.requires.senderConstraint", "FieldValueNotSupported"),
        ),
        ({"requires": {"mfa": True}}, ("spec.requires.mfa", "FieldValueForbidden")),
    ],
    ids=str,
)
def test_a_scope_refuses(spec: dict[str, Any], cause: tuple[str, str]) -> None:
    assert faults(SCOPE, {"scope": "api:x", **spec}) == [cause]


def test_a_scope_needs_its_token() -> None:
    assert faults(SCOPE, {}) == [("spec.scope", "FieldValueRequired")]


def test_a_key_set_has_an_algorithm_and_rotates_monthly() -> None:
    assert spec_of(KEY_SET, {"algorithm": "ES256"}) == {
        "algorithm": "ES256",
        "rotation": {"enabled": True, "intervalDays": 30},
        "audiences": [],
    }
    assert faults(KEY_SET, {"algorithm": "HS256", "rotation": {"intervalDays": 0}}) == [
        ("spec.algorithm", "FieldValueNotSupported"),
        ("spec.rotation.intervalDays", "FieldValueInvalid"),
    ]
