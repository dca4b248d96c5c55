"""Cases in which every check is satisfied; a test replaces the one fact it is about."""

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID

from issuer.checks.cases import Configured, Connected, Loaded, Plan, PrivateFile, Reached, Stored
from issuer.checks.target import Target
from issuer.credentials import SecretVersion, Versions
from issuer.model.kinds import AUTH_POLICY, CLUSTER_AUTH_POLICY, KEY_SET, SERVICE_ACCOUNT, Kind, parse_manifest
from issuer.model.resource import Resource
from issuer.model.scopes import ADMIN_AUDIENCE, ADMIN_SCOPE, SYSTEM_NAMESPACE
from issuer.observe.exporting import Tracing
from issuer.protocol.authentication import METHOD_NAMES
from issuer.settings import Settings, load_settings
from issuer.signing.keyring import KeyRecord
from issuer.signing.sealing import MasterKey, generate_master_key_line, load_master_key
from issuer.store.facts import ServerFacts, StoredFacts
from issuer.store.schema import newest_version

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
URL = "https://auth.example.com"
KEY = load_master_key(generate_master_key_line("k1"), None)
SERVER = ServerFacts(
    version="18.6",
    version_number=180_006,
    now=NOW,
    encoding="UTF8",
    encrypted=True,
    synchronous_commit="on",
    fsync="on",
    statement_timeout_ms=5000,
    synchronous_standby_names="",
    standbys=(),
    connection_limit=197,
    missing_privileges=(),
    may_create=True,
    schema_versions=(newest_version(),),
)
TWO = Plan(replicas=2, workers=1)
REMOTE = Target(("db.example.com",), "verify-full")


def settings(**given: Any) -> Settings:
    """Those of a production server, changed; nothing comes from outside."""
    with patch.dict(os.environ, clear=True):
        return load_settings(**{"url": URL, **given})


def loaded(result: Any = None, *variables: str) -> Loaded:
    return Loaded(result or settings(), "the environment", frozenset(variables))


def configured(**changed: Any) -> Configured:
    """`settings` may be given as a mapping."""
    given = changed.pop("settings", {})
    private = (PrivateFile("master key", Path("master.key"), 0o100600),)
    return replace(Configured(settings(**given), KEY, private, (), (), Tracing.OFF, NOW), **changed)


def reached(outcome: Any = SERVER, target: Target | None = REMOTE) -> Reached:
    return Reached(target, outcome)


def connected(
    *, plan: Plan = TWO, target: Target = REMOTE, skew_s: float = 0.1, given: Any = None, **changed: Any
) -> Connected:
    return Connected(settings(**(given or {})), plan, target, replace(SERVER, **changed), skew_s)


def stored(*, given: Any = None, master_key: MasterKey | None = KEY, **changed: Any) -> Stored:
    facts = StoredFacts(
        master_key_check=KEY.check_blob(),
        sealed={"k1": 6},
        keys=(*ring("default"), *ring("rs256")),
        keysets=(keyset(), keyset("rs256")),
        policies=(),
        administrators=(administrator(),),
        system_labels={},
        undelivered=(),
        oldest_decisions=NOW.date() - timedelta(days=30),
    )
    return Stored(settings(**(given or {})), master_key, replace(facts, **changed), NOW)


def keyset(name: str = "default", **rotation: Any) -> Resource:
    return resource(KEY_SET, name, {"algorithm": "ES256", "rotation": rotation})


def administrator(*versions: SecretVersion, **changed: Any) -> tuple[Resource, Versions]:
    """One with a secret that somebody has, unless others are given."""
    spec = {
        "justification": "a test",
        "scopes": [ADMIN_SCOPE],
        "audiences": [ADMIN_AUDIENCE],
        "authentication": {"methods": ["client_secret_basic"]},
    }
    account = resource(SERVICE_ACCOUNT, "admin", {**spec, **changed}, SYSTEM_NAMESPACE)
    return account, versions or (SecretVersion(1, NOW, handed_out_at=NOW, activated_at=NOW),)


def policy(name: str = "p", *, namespace: str = "", **spec: Any) -> Resource:
    return resource(AUTH_POLICY if namespace else CLUSTER_AUTH_POLICY, name, spec, namespace)


def resource(kind: Kind, name: str, spec: dict[str, Any], namespace: str = "") -> Resource:
    document = {"metadata": {"name": name}, "spec": spec}
    parsed = parse_manifest(kind, document, namespace=namespace, name=name, methods=METHOD_NAMES)
    return Resource(
        api_version=kind.api_version,
        kind=kind.kind,
        namespace=namespace,
        name=name,
        uid=UUID(int=1),
        created_at=NOW,
        spec=parsed.spec,
    )


def key(name: str, keyset_name: str = "default", *, signed_ttl_s: float = 0, **days_ago: float) -> KeyRecord:
    """Instants by how many days ago they were; in the future when negative."""
    instants: dict[str, Any] = {f"{what}_at": NOW - timedelta(days=days) for what, days in days_ago.items()}
    return KeyRecord(
        kid=name,
        keyset=keyset_name,
        algorithm="ES256",
        public_jwk={},
        created_at=NOW - timedelta(days=60),
        signed_ttl_s=signed_ttl_s,
        **instants,
    )


def ring(keyset_name: str = "default", *, age_days: float = 3) -> tuple[KeyRecord, KeyRecord]:
    """An active key and a published one that waits."""
    active = key("k1", keyset_name, published=age_days, activated=age_days)
    return active, key("k2", keyset_name, published=age_days)
