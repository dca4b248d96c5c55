"""Accounts, policies and scopes as values, by the same road the server takes: parsed, checked, compiled."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from issuer.model.kinds import AUTH_POLICY, CLUSTER_AUTH_POLICY, SCOPE, SERVICE_ACCOUNT, Kind, parse_manifest
from issuer.model.resource import Resource
from issuer.policy.catalogue import Catalogue, Limits, compile_scope
from issuer.policy.ceilings import Ceiling, Policies, compile_policy, index_policies
from issuer.policy.decide import Allowed, Decision, decide
from issuer.policy.governed import Bound, Governed, govern
from issuer.policy.grant import Grant, Rotation
from issuer.protocol.authentication import METHODS
from issuer.protocol.grants import TokenAsk

AT = datetime(2026, 11, 22, tzinfo=UTC)
NOW = AT.timestamp()
DEFAULT_AUDIENCE = "https://api.example.com"
LIMITS = Limits(DEFAULT_AUDIENCE, default_ttl_s=600, max_ttl_s=86_400)
BASIC = "client_secret_basic"


def resource(
    kind: Kind, namespace: str, name: str, spec: Mapping[str, Any], labels: Mapping[str, str] | None = None
) -> Resource:
    """A checked object of the kind."""
    document = {"metadata": {"name": name, "labels": dict(labels or {})}, "spec": dict(spec)}
    manifest = parse_manifest(kind, document, namespace=namespace, name=None, methods=frozenset(METHODS))
    uid = UUID(int=hash((kind.kind, namespace, name)) & (1 << 128) - 1, version=4)
    return Resource(
        kind.api_version, kind.kind, namespace, name, uid, AT, manifest.spec, labels=dict(manifest.metadata.labels)
    )


def account(
    namespace: str = "payments", name: str = "api", *, labels: Mapping[str, str] | None = None, **spec: Any
) -> Resource:
    """A ServiceAccount; one scope unless told otherwise."""
    return resource(SERVICE_ACCOUNT, namespace, name, {"scopes": ["api:read"], **spec}, labels)


def policy(name: str = "ceiling", namespace: str = "payments", **spec: Any) -> Ceiling:
    """A compiled AuthPolicy."""
    return compile_policy(resource(AUTH_POLICY, namespace, name, spec))


def cluster_policy(name: str = "ceiling", **spec: Any) -> Ceiling:
    """A compiled ClusterAuthPolicy."""
    return compile_policy(resource(CLUSTER_AUTH_POLICY, "", name, spec))


def catalogue(*scopes: Mapping[str, Any], limits: Limits = LIMITS) -> Catalogue:
    """A catalogue of Scope specs."""
    checked = [resource(SCOPE, "", f"scope-{index}", spec) for index, spec in enumerate(scopes)]
    return Catalogue(limits, {each.spec["scope"]: compile_scope(each.name, each.spec) for each in checked})


def policies(*ceilings: Ceiling, namespace_labels: Mapping[str, Mapping[str, str]] | None = None) -> Policies:
    """An index of them."""
    return index_policies(ceilings, namespace_labels or {})


def grant(**fields: Any) -> Grant:
    """A compiled grant, one scope and one audience unless told otherwise."""
    values: dict[str, Any] = {
        "uid": "u",
        "client_id": "sa-u",
        "namespace": "payments",
        "name": "api",
        "type": "service",
        "scopes": ("a",),
        "default_scopes": None,
        "audiences": ("https://a",),
        "methods": (BASIC,),
        "ttl_s": None,
        "max_tokens_per_minute": None,
        "expires_at": None,
        "claims": {},
        "rotation": Rotation(enabled=False, interval_days=90, grace_period_hours=24),
    }
    return Grant(**values | fields)


def ungoverned(of: Grant, limits: Limits = LIMITS) -> Governed:
    """A grant that no policy reaches."""
    wished = (
        Bound(of.ttl_s, "accessTokenTTL") if of.ttl_s is not None else Bound(limits.default_ttl_s, "server default")
    )
    ttl = Bound(limits.max_ttl_s, "server maximum") if limits.max_ttl_s < wished.value else wished
    return Governed(
        grant=of,
        reaching=(),
        scopes={},
        audiences={},
        methods={},
        claims=of.claims,
        withheld_claims={},
        mapped_claims={},
        missing={},
        demands={},
        ttl=ttl,
        rate=None,
        rotation=of.rotation,
        recorded="[]",
    )


def allowed(of: Grant, scopes: tuple[str, ...], audience: str, ttl_s: int) -> Allowed:
    """A decision as `decide` makes it for a grant that no policy reaches."""
    return Allowed(ungoverned(of), scopes, audience, ttl_s, "server default")


def answer(
    of: Resource,
    *ceilings: Ceiling,
    scopes: tuple[str, ...] | None = None,
    resource: str | None = None,
    method: str = BASIC,
    under: Catalogue | None = None,
    now: float = NOW,
    namespace_labels: Mapping[str, Mapping[str, str]] | None = None,
) -> Decision:
    """What the account gets under these policies."""
    known = under or catalogue()
    governed = govern(of, policies(*ceilings, namespace_labels=namespace_labels), known)
    return decide(governed, TokenAsk(scopes, resource), method, known, now)
