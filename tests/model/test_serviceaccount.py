"""ServiceAccount: every field of DESIGN section 3, what it accepts, its default, and how each fault is named."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from issuer.manifests import parse_documents
from issuer.model.claims import RESERVED_CLAIMS
from issuer.model.faults import Fault
from issuer.model.kinds import SERVICE_ACCOUNT, parse_manifest
from issuer.protocol.authentication import METHODS

# As on the seed's reference page (tests/seeds/every-field.yaml).
EVERY_FIELD_OF_THE_SEED = """
apiVersion: auth.nauthera.io/v1alpha1
kind: ServiceAccount
metadata:
  name: payment-service
  namespace: payments-prod
spec:
  displayName: "Payment Processing Service"
  scopes:
    - "api:payments"
    - "api:ledger:read"
  tokenSettings:
    accessTokenTTL: 5m
  claims:
    "https://myapp.example.com/service": "payment-processor"
    "https://myapp.example.com/tier": "critical"
  credentialsSecretName: payment-service-oauth-secret
  configMapName: payment-service-oauth-config
  credentialRotation:
    enabled: true
    intervalDays: 90
    gracePeriodHours: 24
"""
DEFAULTS: dict[str, Any] = {
    "displayName": "api",
    "type": "service",
    "disabled": False,
    "scopes": ["api:read"],
    "claims": {},
    "credentialRotation": {"enabled": False, "intervalDays": 90, "gracePeriodHours": 24},
    "credentialsSecretName": "api-sa-credentials",
    "configMapName": "api-sa-config",
    "authentication": {"methods": ["client_secret_basic", "client_secret_post"]},
}
SYSTEM = "issuer-system"


def spec_of(document: Any, namespace: str = "payments") -> dict[str, Any]:
    methods = frozenset(METHODS)
    return dict(parse_manifest(SERVICE_ACCOUNT, document, namespace=namespace, name=None, methods=methods).spec)


def stored(namespace: str = "payments", **spec: Any) -> dict[str, Any]:
    return spec_of({"metadata": {"name": "api"}, "spec": {"scopes": ["api:read"], **spec}}, namespace)


def causes_of(document: Any, namespace: str = "payments") -> list[tuple[str, str]]:
    with pytest.raises(Fault) as caught:
        spec_of(document, namespace)
    assert caught.value.reason.code == 422
    return [(cause.field, cause.reason) for cause in caught.value.causes]


def faults(namespace: str = "payments", **spec: Any) -> list[tuple[str, str]]:
    return causes_of({"metadata": {"name": "api"}, "spec": {"scopes": ["api:read"], **spec}}, namespace)


def test_omitted_fields_have_the_defaults_of_the_design_and_nothing_else_is_stored() -> None:
    assert stored() == DEFAULTS


def test_the_seeds_manifest_is_kept_as_written() -> None:
    (document,) = parse_documents(EVERY_FIELD_OF_THE_SEED)
    written = yaml.safe_load(EVERY_FIELD_OF_THE_SEED)["spec"]
    spec = spec_of(document, "payments-prod")
    assert {field: spec[field] for field in written} == written


def test_the_seed_in_this_file_is_the_seed() -> None:
    page = Path(__file__).parents[1] / "seeds" / "every-field.yaml"
    assert yaml.safe_load(page.read_text(encoding="utf-8")) == yaml.safe_load(EVERY_FIELD_OF_THE_SEED)


ACCEPTED: dict[str, tuple[dict[str, Any], Any]] = {
    "displayName may be any text": ({"displayName": "Zahlungen (EU) ü"}, "Zahlungen (EU) ü"),
    "displayName of 253 characters": ({"displayName": "x" * 253}, "x" * 253),
    "an empty displayName is the resource's name": ({"displayName": ""}, "api"),
    "owner": ({"owner": "team-payments"}, "team-payments"),
    "purpose": ({"purpose": "charges cards"}, "charges cards"),
    "reviewBy": ({"reviewBy": "2027-01-31T12:00:00Z"}, "2027-01-31T12:00:00Z"),
    "justification outside issuer-system": ({"justification": "because"}, "because"),
    "disabled": ({"disabled": True}, True),
    "expiresAt in another zone is stored in UTC": ({"expiresAt": "2027-01-31T12:00:00+02:00"}, "2027-01-31T10:00:00Z"),
    "expiresAt in the past": ({"expiresAt": "2001-01-01T00:00:00Z"}, "2001-01-01T00:00:00Z"),
    "expiresAt with a fraction is cut to seconds": ({"expiresAt": "2027-01-31T12:00:00.9Z"}, "2027-01-31T12:00:00Z"),
    "expiresAt as Go writes its zero time": ({"expiresAt": "0001-01-01T00:00:00Z"}, "0001-01-01T00:00:00Z"),
    "expiresAt at the end of time": ({"expiresAt": "9999-12-31T23:59:59Z"}, "9999-12-31T23:59:59Z"),
    "scopes of every character of RFC 6749": ({"scopes": ["!#[]~", "openid"]}, ["!#[]~", "openid"]),
    "scopes that look like another's prefix": ({"scopes": ["issuerx:admin", "issuer"]}, ["issuerx:admin", "issuer"]),
    "defaultScopes within scopes": ({"defaultScopes": ["api:read"]}, ["api:read"]),
    "defaultScopes may be empty": ({"defaultScopes": []}, []),
    "audiences": ({"audiences": ["https://a.example", "urn:x"]}, ["https://a.example", "urn:x"]),
    "an accessTokenTTL is kept as written": (
        {"tokenSettings": {"accessTokenTTL": "90m"}},
        {"accessTokenTTL": "90m"},
    ),
    "the shortest accessTokenTTL": ({"tokenSettings": {"accessTokenTTL": "10s"}}, {"accessTokenTTL": "10s"}),
    "the longest accessTokenTTL": ({"tokenSettings": {"accessTokenTTL": "24h"}}, {"accessTokenTTL": "24h"}),
    "maxTokensPerMinute": ({"tokenSettings": {"maxTokensPerMinute": 1}}, {"maxTokensPerMinute": 1}),
    "claims of other names": ({"claims": {"env": "prod", "scopes": "x"}}, {"env": "prod", "scopes": "x"}),
    "claims of 4 KiB in all": ({"claims": {"a": "x" * 4095}}, {"a": "x" * 4095}),
    "credentialRotation takes its defaults one by one": (
        {"credentialRotation": {"enabled": True}},
        {"enabled": True, "intervalDays": 90, "gracePeriodHours": 24},
    ),
    "grace one hour below the interval": (
        {"credentialRotation": {"intervalDays": 1, "gracePeriodHours": 23}},
        {"enabled": False, "intervalDays": 1, "gracePeriodHours": 23},
    ),
    "credentialsSecretName": ({"credentialsSecretName": "a.b-c"}, "a.b-c"),
    "configMapName": ({"configMapName": "x"}, "x"),
    "an empty configMapName is the seed's default": ({"configMapName": ""}, "api-sa-config"),
    "authentication takes its default methods": ({"authentication": {}}, DEFAULTS["authentication"]),
    "one method": ({"authentication": {"methods": ["client_secret_post"]}}, {"methods": ["client_secret_post"]}),
    "managedBy": (
        {"managedBy": {"cluster": "eu1", "namespace": "p", "name": "api", "uid": "u-1"}},
        {"cluster": "eu1", "namespace": "p", "name": "api", "uid": "u-1"},
    ),
}
for _value in ("service", "agent", "ci"):
    ACCEPTED[f"type {_value}"] = ({"type": _value}, _value)
for _value in ("inference", "evaluation", "tool-execution", "retrieval", "batch", "administration", "service"):
    ACCEPTED[f"usage {_value}"] = ({"usage": _value}, _value)


@pytest.mark.parametrize(("spec", "answered"), ACCEPTED.values(), ids=list(ACCEPTED))
def test_is_accepted(spec: dict[str, Any], answered: Any) -> None:
    (field,) = spec
    assert stored(**spec) == {**DEFAULTS, field: answered}


REFUSED: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "a displayName that is a list": ({"displayName": []}, [("spec.displayName", "FieldValueTypeInvalid")]),
    "a displayName that is an object": ({"displayName": {}}, [("spec.displayName", "FieldValueTypeInvalid")]),
    "a displayName of 254 characters": ({"displayName": "x" * 254}, [("spec.displayName", "FieldValueTooLong")]),
    "an empty owner": ({"owner": ""}, [("spec.owner", "FieldValueInvalid")]),
    "a purpose of 1025 characters": ({"purpose": "x" * 1025}, [("spec.purpose", "FieldValueTooLong")]),
    "reviewBy without a zone": ({"reviewBy": "2027-01-31T12:00:00"}, [("spec.reviewBy", "FieldValueInvalid")]),
    "reviewBy as a date": ({"reviewBy": "2027-01-31"}, [("spec.reviewBy", "FieldValueInvalid")]),
    "an unknown usage": ({"usage": "fun"}, [("spec.usage", "FieldValueNotSupported")]),
    "an unknown type": ({"type": "human"}, [("spec.type", "FieldValueNotSupported")]),
    "disabled as text": ({"disabled": "true"}, [("spec.disabled", "FieldValueTypeInvalid")]),
    "disabled as a number": ({"disabled": 1}, [("spec.disabled", "FieldValueTypeInvalid")]),
    "expiresAt as a number": ({"expiresAt": 1893456000}, [("spec.expiresAt", "FieldValueTypeInvalid")]),
    "expiresAt as an ISO week": ({"expiresAt": "2027-W05-1T00:00:00Z"}, [("spec.expiresAt", "FieldValueInvalid")]),
    "expiresAt without separators": ({"expiresAt": "20270131T120000Z"}, [("spec.expiresAt", "FieldValueInvalid")]),
    "expiresAt without seconds": ({"expiresAt": "2027-01-31T12:00Z"}, [("spec.expiresAt", "FieldValueInvalid")]),
    "expiresAt that leaves the calendar in UTC": (
        {"expiresAt": "0001-01-01T00:00:00+23:00"},
        [("spec.expiresAt", "FieldValueInvalid")],
    ),
    "no scopes": ({"scopes": []}, [("spec.scopes", "FieldValueInvalid")]),
    "scopes as text": ({"scopes": "api:read"}, [("spec.scopes", "FieldValueTypeInvalid")]),
    "a scope with a space": ({"scopes": ["ok", "a b"]}, [("spec.scopes[1]", "FieldValueInvalid")]),
    "an empty scope": ({"scopes": [""]}, [("spec.scopes[0]", "FieldValueInvalid")]),
    "a scope with a quote": ({"scopes": ['"']}, [("spec.scopes[0]", "FieldValueInvalid")]),
    "a scope with a backslash": ({"scopes": ["\\"]}, [("spec.scopes[0]", "FieldValueInvalid")]),
    "a scope beyond ASCII": ({"scopes": ["é"]}, [("spec.scopes[0]", "FieldValueInvalid")]),
    "a scope of 257 characters": ({"scopes": ["x" * 257]}, [("spec.scopes[0]", "FieldValueInvalid")]),
    "a scope that ends in a line break": ({"scopes": ["a\n"]}, [("spec.scopes[0]", "FieldValueInvalid")]),
    "a scope twice": ({"scopes": ["a", "b", "a"]}, [("spec.scopes", "FieldValueDuplicate")]),
    "wildcards, each by its place": (
        {"scopes": ["api:*", "ok", "*"]},
        [("spec.scopes[0]", "FieldValueInvalid"), ("spec.scopes[2]", "FieldValueInvalid")],
    ),
    "a default scope that is not held": (
        {"defaultScopes": ["api:write"]},
        [("spec.defaultScopes", "FieldValueInvalid")],
    ),
    "no audiences at all": ({"audiences": []}, [("spec.audiences", "FieldValueInvalid")]),
    "an audience with white space": ({"audiences": ["a b"]}, [("spec.audiences[0]", "FieldValueInvalid")]),
    "an audience twice": ({"audiences": ["a", "a"]}, [("spec.audiences", "FieldValueDuplicate")]),
    "a TTL below 10 s": (
        {"tokenSettings": {"accessTokenTTL": "9s"}},
        [("spec.tokenSettings.accessTokenTTL", "FieldValueInvalid")],
    ),
    "a TTL above 24 h": (
        {"tokenSettings": {"accessTokenTTL": "24h1s"}},
        [("spec.tokenSettings.accessTokenTTL", "FieldValueInvalid")],
    ),
    "a TTL as a number": (
        {"tokenSettings": {"accessTokenTTL": 300}},
        [("spec.tokenSettings.accessTokenTTL", "FieldValueTypeInvalid")],
    ),
    "no tokens per minute": (
        {"tokenSettings": {"maxTokensPerMinute": 0}},
        [("spec.tokenSettings.maxTokensPerMinute", "FieldValueInvalid")],
    ),
    "a fraction of a token": (
        {"tokenSettings": {"maxTokensPerMinute": 1.0}},
        [("spec.tokenSettings.maxTokensPerMinute", "FieldValueTypeInvalid")],
    ),
    "a claim that is no text": ({"claims": {"n": 1}}, [("spec.claims.n", "FieldValueTypeInvalid")]),
    "a claim without a name": ({"claims": {"": "x"}}, [("spec.claims", "FieldValueInvalid")]),
    "a claim name of 257 characters": (
        {"claims": {"x" * 257: "y"}},
        [(f"spec.claims.{'x' * 257}", "FieldValueInvalid")],
    ),
    "claims above 4 KiB": ({"claims": {"a": "x" * 4096}}, [("spec.claims", "FieldValueTooLong")]),
    "claims above 4 KiB in bytes, not in characters": (
        {"claims": {"a": "é" * 2048}},
        [("spec.claims", "FieldValueTooLong")],
    ),
    "an interval of no days": (
        {"credentialRotation": {"intervalDays": 0}},
        [("spec.credentialRotation.intervalDays", "FieldValueInvalid")],
    ),
    "a negative grace": (
        {"credentialRotation": {"gracePeriodHours": -1}},
        [("spec.credentialRotation.gracePeriodHours", "FieldValueInvalid")],
    ),
    "grace as long as the interval": (
        {"credentialRotation": {"intervalDays": 2, "gracePeriodHours": 48}},
        [("spec.credentialRotation.gracePeriodHours", "FieldValueInvalid")],
    ),
    "CVE-2026-18570: the grace left out is checked with its default": (
        {"credentialRotation": {"intervalDays": 1}},
        [("spec.credentialRotation.gracePeriodHours", "FieldValueInvalid")],
    ),
    "CVE-2026-18570: the interval left out is checked with its default": (
        {"credentialRotation": {"gracePeriodHours": 90 * 24}},
        [("spec.credentialRotation.gracePeriodHours", "FieldValueInvalid")],
    ),
    "credentialsSecretName that is no DNS name": (
        {"credentialsSecretName": "Under_score"},
        [("spec.credentialsSecretName", "FieldValueInvalid")],
    ),
    "credentialsSecretName that is a list": (
        {"credentialsSecretName": ["x"]},
        [("spec.credentialsSecretName", "FieldValueTypeInvalid")],
    ),
    "configMapName of 254 characters": ({"configMapName": "x" * 254}, [("spec.configMapName", "FieldValueTooLong")]),
    "configMapName that is an object": ({"configMapName": {}}, [("spec.configMapName", "FieldValueTypeInvalid")]),
    "no authentication method": (
        {"authentication": {"methods": []}},
        [("spec.authentication.methods", "FieldValueInvalid")],
    ),
    "an authentication method without a row": (
        {"authentication": {"methods": ["client_secret_basic", "private_key_jwt"]}},
        [("spec.authentication.methods", "FieldValueNotSupported")],
    ),
    "an authentication method twice": (
        {"authentication": {"methods": ["client_secret_post", "client_secret_post"]}},
        [("spec.authentication.methods", "FieldValueDuplicate")],
    ),
    "managedBy without all of its parts": (
        {"managedBy": {"cluster": "eu1", "uid": ""}},
        [
            ("spec.managedBy.name", "FieldValueRequired"),
            ("spec.managedBy.namespace", "FieldValueRequired"),
            ("spec.managedBy.uid", "FieldValueInvalid"),
        ],
    ),
    "an unknown field": ({"scope": "x"}, [("spec.scope", "FieldValueForbidden")]),
    "an unknown field one level down": (
        {"tokenSettings": {"ttl": "5m"}},
        [("spec.tokenSettings.ttl", "FieldValueForbidden")],
    ),
    "a field in snake case is unknown": (
        {"credentialRotation": {"interval_days": 9}},
        [("spec.credentialRotation.interval_days", "FieldValueForbidden")],
    ),
    "a spec field in snake case is unknown": (
        {"display_name": "x"},
        [("spec.display_name", "FieldValueForbidden")],
    ),
}


@pytest.mark.parametrize(("spec", "causes"), REFUSED.values(), ids=list(REFUSED))
def test_is_refused_by_path_and_reason(spec: dict[str, Any], causes: list[tuple[str, str]]) -> None:
    assert faults(**spec) == causes


def test_scopes_are_required() -> None:
    assert causes_of({"metadata": {"name": "api"}, "spec": {}}) == [("spec.scopes", "FieldValueRequired")]
    assert causes_of({"metadata": {"name": "api"}}) == [("spec.scopes", "FieldValueRequired")]


# DESIGN section 3: reserved names, written out once more so that losing one in the code is noticed.
# fmt: off
RESERVED = [
    "iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "scope", "cnf", "act", "may_act", "auth_time", "acr",
    "amr", "azp", "nonce", "at_hash", "sid", "status", "txn", "events", "sub_id", "scp", "token_use",
    "authorization_details", "kubernetes.io",
]
# fmt: on


@pytest.mark.parametrize(
    "name",
    [
        *RESERVED,
        "auth.nauthera.io",
        "auth.nauthera.io/x",
        "auth.nauthera.iox",
        "groups",
        "roles",
        "entitlements",
    ],
)
def test_cve_2026_16102_an_account_cannot_write_the_claim(name: str) -> None:
    assert faults(claims={name: "x", "fine": "y"}) == [(f"spec.claims.{name}", "FieldValueForbidden")]


def test_the_reserved_claims_are_those_of_the_design() -> None:
    assert frozenset(RESERVED) == RESERVED_CLAIMS


def test_every_reserved_claim_of_an_object_is_named() -> None:
    assert faults(claims={"iss": "a", "roles": "b", "ok": "c"}) == [
        ("spec.claims.iss", "FieldValueForbidden"),
        ("spec.claims.roles", "FieldValueForbidden"),
    ]


def test_all_faults_of_an_object_come_in_one_answer() -> None:
    document = {
        "apiVersion": "v1",
        "kind": "Account",
        "data": {},
        "metadata": {"name": "api", "labels": {"-bad": "x"}, "colour": "red"},
        "spec": {
            "scopes": ["a b", "ok", "issuer:admin"],
            "audiences": ["urn:issuer:admin"],
            "type": "human",
            "tokenSettings": {"accessTokenTTL": "5"},
            "claims": {"sub": "root"},
            "credentialRotation": {"intervalDays": 1, "gracePeriodHours": 24, "days": 3},
            "authentication": {"methods": ["telepathy"]},
            "managedBy": {},
        },
    }
    assert causes_of(document) == [
        ("apiVersion", "FieldValueInvalid"),
        ("data", "FieldValueForbidden"),
        ("kind", "FieldValueInvalid"),
        ("metadata.colour", "FieldValueForbidden"),
        ("metadata.labels.-bad", "FieldValueInvalid"),
        ("spec.audiences[0]", "FieldValueForbidden"),
        ("spec.authentication.methods", "FieldValueNotSupported"),
        ("spec.claims.sub", "FieldValueForbidden"),
        ("spec.credentialRotation.days", "FieldValueForbidden"),
        ("spec.credentialRotation.gracePeriodHours", "FieldValueInvalid"),
        ("spec.managedBy.cluster", "FieldValueRequired"),
        ("spec.managedBy.name", "FieldValueRequired"),
        ("spec.managedBy.namespace", "FieldValueRequired"),
        ("spec.managedBy.uid", "FieldValueRequired"),
        ("spec.scopes[0]", "FieldValueInvalid"),
        ("spec.scopes[2]", "FieldValueForbidden"),
        ("spec.tokenSettings.accessTokenTTL", "FieldValueInvalid"),
        ("spec.type", "FieldValueNotSupported"),
    ]


@pytest.mark.parametrize("name", ["Under_score", "x" * 238, ""])
def test_a_bad_name_is_one_fault_and_its_defaults_are_none(name: str) -> None:
    causes = causes_of({"metadata": {"name": name}, "spec": {"scopes": ["api:read"]}})
    assert causes == [("metadata.name", "FieldValueInvalid")]


def test_a_missing_name_is_one_fault() -> None:
    assert causes_of({"metadata": {}, "spec": {"scopes": ["a"]}}) == [("metadata.name", "FieldValueRequired")]


def test_the_longest_name_leaves_room_for_the_suffixes_of_a_driver() -> None:
    spec = spec_of({"metadata": {"name": "x" * 237}, "spec": {"scopes": ["api:read"]}})
    assert len(spec["credentialsSecretName"]) == 252
    assert spec["displayName"] == "x" * 237


class TestIssuerSystem:
    def test_its_accounts_must_say_why_they_exist(self) -> None:
        assert faults(SYSTEM) == [("spec.justification", "FieldValueRequired")]
        assert faults(SYSTEM, justification="") == [("spec.justification", "FieldValueInvalid")]

    def test_its_accounts_may_have_the_admin_scopes_and_audience(self) -> None:
        spec = stored(
            SYSTEM,
            justification="operator",
            scopes=["issuer:admin", "issuer:admin:read"],
            audiences=["urn:issuer:admin"],
        )
        assert spec["scopes"] == ["issuer:admin", "issuer:admin:read"]

    def test_other_issuer_scopes_do_not_exist_even_there(self) -> None:
        found = faults(SYSTEM, justification="x", scopes=["issuer:admin", "issuer:root"])
        assert found == [("spec.scopes[1]", "FieldValueNotSupported")]

    @pytest.mark.parametrize("namespace", ["payments", "issuer-system-2", "default"])
    def test_no_other_namespace_may(self, namespace: str) -> None:
        assert faults(namespace, scopes=["ok", "issuer:admin", "issuer:x"], audiences=["urn:issuer:admin"]) == [
            ("spec.audiences[0]", "FieldValueForbidden"),
            ("spec.scopes[1]", "FieldValueForbidden"),
            ("spec.scopes[2]", "FieldValueForbidden"),
        ]
