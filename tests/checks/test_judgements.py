"""Every judgement of `issuer check`, by table: what is known, how bad it is, and the words by which a person sees it."""

import re
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from issuer.checks.cases import Folder, Plan, PortCertificate, PrivateFile
from issuer.checks.findings import Finding, Level, judge_all
from issuer.checks.table import CHECKS
from issuer.checks.target import Target
from issuer.credentials import SecretVersion
from issuer.observe.exporting import Tracing
from issuer.settings import SettingsError
from issuer.signing.sealing import MasterKey, MasterKeyError, generate_master_key_line, load_master_key
from issuer.store.database import DatabaseUnavailable, ReadOnlyStandby
from issuer.store.facts import MAX_COUNTED, Standby
from issuer.store.schema import newest_version
from tests.checks.cases import (
    KEY,
    NOW,
    SERVER,
    administrator,
    configured,
    connected,
    key,
    keyset,
    loaded,
    policy,
    reached,
    ring,
    settings,
    stored,
)

OK, WARNING, ERROR = Level.OK, Level.WARNING, Level.ERROR
NEWEST = int(newest_version())
LOOPBACK = Target(("127.0.0.1", "/run/postgresql"), "prefer")
NEWER = MasterKey("k2", MappingProxyType({"k2": b"2" * 32, "k1": KEY.keys["k1"]}))
LEAVING = key("k0", published=40, activated=30, retires=-(900 / 86_400 + 0.5), signed_ttl_s=86_400)
NO_ADMIN: dict[str, Any] = {"scopes": {"denied": ["issuer:*"]}}
PROD: dict[str, Any] = {"namespaceSelector": {"matchLabels": {"env": "prod"}}}
SOME = Path("/some")
BY_NAME = {check.name: check for check in CHECKS}


@dataclass(frozen=True)
class Row:
    """One case and what the named check says of it."""

    check: str
    case: Any
    level: Level
    words: str


def certificate(days: float | None, trouble: str = "") -> PortCertificate:
    return PortCertificate("public", NOW + timedelta(days=days) if days is not None else None, trouble)


def opened(mode: int) -> PrivateFile:
    return PrivateFile("master key", Path("master.key"), 0o100000 | mode)


ROWS = {
    # --- settings and files
    "settings that load": Row("settings", loaded(), OK, "read from the environment"),
    "every fault of the settings": Row(
        "settings",
        loaded(SettingsError("These settings cannot be used:\n  url: must be https\n  log.level: no")),
        ERROR,
        "url: must be https|log.level: no",
    ),
    "variables that are settings, ours, or nobody's": Row(
        "environment",
        loaded(
            None, "ISSUER_URL", "ISSUER_LOG__LEVEL", "issuer_url", "ISSUER_ADMIN_TOKEN", "ISSUER_PORT_8080_TCP", "PATH"
        ),
        OK,
        "No variable",
    ),
    "one underscore instead of two": Row(
        "environment", loaded(None, "ISSUER_LOG_LEVEL"), WARNING, "ISSUER_LOG_LEVEL: did you mean ISSUER_LOG__LEVEL?"
    ),
    "a variable with a slip": Row(
        "environment", loaded(None, "ISSUER_DATABSE_URL"), WARNING, "did you mean ISSUER_DATABASE_URL?"
    ),
    "no folders": Row("folders", configured(), OK, "Nothing is written to a folder"),
    "folders in order": Row(
        "folders", configured(folders=(Folder("audit.spool_dir", SOME),)), OK, "Every folder can be written to"
    ),
    "a spool that has no place": Row(
        "folders",
        configured(folders=(Folder("audit.spool_dir", SOME, "Not a directory"), Folder("audit.export_dir", SOME))),
        ERROR,
        r"never ready|audit.spool_dir: /some \(Not a directory\)|may write to",
    ),
    "exported days that have no place": Row(
        "folders",
        configured(folders=(Folder("audit.export_dir", SOME, "Permission denied"),)),
        WARNING,
        r"no day leaves|audit.export_dir: /some \(Permission denied\)|may write to",
    ),
    "an https issuer": Row("issuer url", configured(), OK, "iss: https://auth.example.com"),
    "no issuer": Row("issuer url", configured(settings={"url": None}), ERROR, "set ISSUER_URL"),
    "an issuer of this machine": Row(
        "issuer url", configured(settings={"url": "http://localhost:8080"}), WARNING, "of this machine only"
    ),
    "one master key": Row("master key", configured(), OK, "'k1' seals."),
    "a new and an old master key": Row(
        "master key",
        configured(master_key=load_master_key(generate_master_key_line("k2") + generate_master_key_line("k1"), None)),
        OK,
        "'k2' seals, 1 more can open",
    ),
    "no usable master key": Row(
        "master key",
        configured(master_key=MasterKeyError("The master key file k cannot be read: Permission denied.")),
        ERROR,
        "k cannot be read: Permission denied.",
    ),
    "a key file of its owner": Row("key files", configured(private_files=(opened(0o400),)), OK, "its owner's alone"),
    "a key in the environment": Row("key files", configured(private_files=()), OK, "No key lies in a file"),
    "a key file the group may read": Row(
        "key files", configured(private_files=(opened(0o640),)), WARNING, r"master.key \(mode 0640\)|chmod 600"
    ),
    "a key file everybody may read": Row("key files", configured(private_files=(opened(0o604),)), WARNING, "mode 0604"),
    "no certificate": Row("certificates", configured(), OK, "behind a TLS proxy"),
    "a certificate for a month": Row(
        "certificates", configured(certificates=(certificate(30),)), OK, "until 2026-12-22"
    ),
    "a certificate for a week": Row(
        "certificates", configured(certificates=(certificate(7),)), WARNING, "public: expires on 2026-11-29"
    ),
    "a certificate of last week": Row(
        "certificates", configured(certificates=(certificate(-7),)), ERROR, "public: expired 7 days ago"
    ),
    "a certificate that cannot be used": Row(
        "certificates",
        configured(certificates=(certificate(None, "the key is encrypted"),)),
        ERROR,
        "the key is encrypted",
    ),
    "an admin port on loopback": Row("admin port", configured(), OK, "loopback only"),
    "an admin port in the clear": Row(
        "admin port", configured(settings={"admin_plaintext": True}), WARNING, "without TLS|admin_certificate_file"
    ),
    "an admin port with TLS": Row(
        "admin port",
        configured(
            settings={"admin_plaintext": True, "admin_certificate_file": "c.pem", "admin_key_file": "k.pem"},
        ),
        OK,
        "speaks TLS",
    ),
    "lifetimes that fit": Row("token lifetimes", configured(), OK, "live 10m .* never longer than 24h"),
    "a default lifetime nobody gets": Row(
        "token lifetimes",
        configured(settings={"tokens": {"default_ttl_s": 900, "max_ttl_s": 600}}),
        WARNING,
        r"\(15m\) is above tokens.max_ttl_s \(10m\)",
    ),
    "real days": Row("schedule", configured(), OK, "24 hours"),
    "short days": Row("schedule", configured(settings={"schedule": {"day_s": 2}}), WARNING, "lasts 2 s"),
    "short hours": Row("schedule", configured(settings={"schedule": {"hour_s": 1}}), WARNING, "`gracePeriodHours` 1 s"),
    "a quiet log": Row("log", configured(), OK, "Level info, as json"),
    "a chatty log": Row("log", configured(settings={"log": {"level": "debug"}}), WARNING, "every token"),
    "no traces": Row("traces", configured(), OK, "asks for none"),
    "traces": Row("traces", configured(tracing=Tracing.ON), OK, "Every request"),
    "traces in vain": Row("traces", configured(tracing=Tracing.NOT_INSTALLED), WARNING, r"issuer\[otel\]"),
    # --- the server
    "a primary": Row("database", reached(), OK, "PostgreSQL 18.6 at db.example.com"),
    "the oldest that will do": Row(
        "database", reached(replace(SERVER, version_number=150_000)), OK, "writable primary"
    ),
    "too old a server": Row(
        "database",
        reached(replace(SERVER, version="14.9", version_number=140_009)),
        ERROR,
        "14.9 is too old|15 or later",
    ),
    "no server named": Row("database", reached(None, None), ERROR, "set ISSUER_DATABASE_URL"),
    "nobody listening": Row(
        "database",
        reached(DatabaseUnavailable("ConnectionRefusedError")),
        ERROR,
        "does not answer: nothing listens there",
    ),
    "a reason we have no words for": Row(
        "database", reached(DatabaseUnavailable("XX000")), ERROR, "does not answer: XX000"
    ),
    "only a standby": Row("database", reached(ReadOnlyStandby()), ERROR, "db.example.com answers as a standby"),
    "a verified connection": Row("encryption", connected(), OK, "verified"),
    "a connection within the machine": Row(
        "encryption", connected(target=LOOPBACK, encrypted=False), OK, "does not leave this machine"
    ),
    "one remote host among local ones": Row(
        "encryption",
        connected(target=Target(("127.0.0.1", "10.0.0.7"), "disable"), encrypted=False),
        WARNING,
        "is not encrypted|sslmode=verify-full",
    ),
    "encrypted by chance": Row(
        "encryption",
        connected(target=Target(("db",), "prefer")),
        WARNING,
        "encrypted, today, .*and it may go on in the clear",
    ),
    "encrypted with whomever": Row(
        "encryption",
        connected(target=Target(("db",), "require")),
        WARNING,
        "encrypted, but .* nobody checks who answers",
    ),
    "a durable server": Row("durability", connected(), OK, "synchronous_commit is on"),
    "a server that applies elsewhere first": Row(
        "durability", connected(synchronous_commit="remote_apply"), OK, "apply"
    ),
    "a server without fsync": Row("durability", connected(fsync="off"), ERROR, "fsync is off"),
    **{
        f"commits that are {value}": Row(
            "durability", connected(synchronous_commit=value), ERROR, f"is {value} on our connection|pooler"
        )
        for value in ("off", "local", "remote_write")
    },
    "no standby": Row("standby", connected(), OK, "No standby is connected"),
    "a synchronous standby": Row(
        "standby",
        connected(standbys=(Standby("a", "async"), Standby("b", "sync")), synchronous_standby_names="b"),
        OK,
        "Synchronous: a, b",
    ),
    "a quorum of standbys": Row(
        "standby",
        connected(standbys=(Standby("a", "quorum"),), synchronous_standby_names="ANY 1 (*)"),
        OK,
        "Synchronous",
    ),
    "an asynchronous standby": Row(
        "standby", connected(standbys=(Standby("a", "async"),)), WARNING, "to a is asynchronous: a failover loses"
    ),
    "an asynchronous standby that cannot be seen": Row(
        "standby", connected(standbys=(Standby(None, None),)), WARNING, "to a standby is asynchronous"
    ),
    "a synchronous standby that cannot be seen": Row(
        "standby",
        connected(standbys=(Standby(None, None),), synchronous_standby_names="*"),
        OK,
        "cannot be seen|pg_monitor",
    ),
    "a demanded standby that is away": Row(
        "standby",
        connected(synchronous_standby_names="b"),
        WARNING,
        r"'b' and no connected standby .*\(there is none\)",
    ),
    "a demanded standby under another name": Row(
        "standby",
        connected(standbys=(Standby("a", "async"),), synchronous_standby_names="b"),
        WARNING,
        r"no connected standby counts \(a\)",
    ),
    "connections that fit exactly": Row(
        "connections",
        connected(connection_limit=76),
        OK,
        "2 replicas of 2 processes with up to 19 connections each make 76; this user may open 76",
    ),
    "one connection too few": Row(
        "connections", connected(connection_limit=75), WARNING, "only 75.*503|96 or more, or database.pool_size to 9;"
    ),
    "a deployment no pool is small enough for": Row(
        "connections",
        connected(plan=Plan(25, 4), connection_limit=97),
        WARNING,
        "25 replicas of 5 processes.* 2375|2395 or more; ",
    ),
    "one replica": Row("connections", connected(plan=Plan(1, 1)), OK, "1 replica of 2 processes"),
    "statements that end": Row("timeouts", connected(), OK, "after 5 s"),
    "statements that end otherwise than asked": Row(
        "timeouts", connected(statement_timeout_ms=0), WARNING, "is 0 s on our connection, though we ask for 5 s"
    ),
    "clocks that agree": Row("clock", connected(skew_s=-2.0), OK, "agree within 2 s"),
    "a clock behind": Row("clock", connected(skew_s=2.1), WARNING, "2.1 s behind the database's"),
    "a clock ahead": Row("clock", connected(skew_s=-30.0), WARNING, "30.0 s ahead of the database's"),
    "a clock far off": Row("clock", connected(skew_s=-30.1), ERROR, "30.1 s ahead.*wrong time|NTP"),
    "an encoding for everybody": Row("encoding", connected(), OK, "UTF8"),
    "an encoding for some": Row("encoding", connected(encoding="LATIN1"), ERROR, "encoded as LATIN1"),
    "enough privileges": Row("privileges", connected(), OK, "may do"),
    "too few privileges": Row(
        "privileges", connected(missing_privileges=("DELETE ON changes",)), ERROR, "lacks|GRANT|DELETE ON changes"
    ),
    # --- the schema
    "this program's schema": Row("schema", connected(), OK, f"Version {NEWEST:04}"),
    "no schema": Row("schema", connected(schema_versions=()), ERROR, "no schema yet|run `issuer migrate`$"),
    "no schema, and no right to make one": Row(
        "schema", connected(schema_versions=(), may_create=False), ERROR, "as a user that may create tables"
    ),
    "an older schema": Row("schema", connected(schema_versions=("0000",)), ERROR, "schema is 0000|issuer migrate"),
    "the next schema": Row(
        "schema",
        connected(schema_versions=(f"{NEWEST + 1:04}",)),
        WARNING,
        "one ahead of this program|finish the upgrade",
    ),
    "a schema of the future": Row(
        "schema", connected(schema_versions=(f"{NEWEST + 2:04}",)), ERROR, "it is too old|deploy a newer version"
    ),
    "somebody else's schema": Row("schema", connected(schema_versions=("ae1027a6acf",)), ERROR, "none of ours"),
    "two versions at once": Row(
        "schema", connected(schema_versions=("0001", "0002")), ERROR, r"\(0001, 0002\) is none"
    ),
    "a version that cannot be read": Row(
        "schema", connected(schema_versions=None), ERROR, "GRANT SELECT ON alembic_version"
    ),
    # --- what is stored
    "bootstrapped": Row("bootstrap", stored(), OK, "an administrator"),
    "not bootstrapped": Row(
        "bootstrap", stored(master_key_check=None, keys=(), keysets=()), ERROR, "no administrator yet|issuer bootstrap"
    ),
    "an administrator who uses the other method": Row(
        "bootstrap",
        stored(administrators=(administrator(authentication={"methods": ["client_secret_post"]}),)),
        OK,
        "an administrator",
    ),
    "nobody holds the scope for administration": Row(
        "bootstrap", stored(administrators=()), WARNING, "no account can have a token|issuer bootstrap --recover"
    ),
    "an administrator who is disabled": Row(
        "bootstrap", stored(administrators=(administrator(disabled=True),)), WARNING, "--recover"
    ),
    "an administrator who has expired": Row(
        "bootstrap", stored(administrators=(administrator(expiresAt="2026-11-22T11:59:00Z"),)), WARNING, "--recover"
    ),
    "an administrator who is not for the admin API": Row(
        "bootstrap", stored(administrators=(administrator(audiences=["https://api"]),)), WARNING, "--recover"
    ),
    "an administrator whose secret nobody was given": Row(
        "bootstrap", stored(administrators=(administrator(SecretVersion(1, NOW)),)), WARNING, "--recover"
    ),
    "an administrator whose secret was cut": Row(
        "bootstrap",
        stored(administrators=(administrator(SecretVersion(1, NOW, handed_out_at=NOW, cut_at=NOW)),)),
        WARNING,
        "--recover",
    ),
    "a policy that keeps administrators out": Row(
        "bootstrap", stored(policies=(policy(appliesToSystem=True, **NO_ADMIN),)), WARNING, "kept from it by a policy"
    ),
    "a policy that keeps out whoever is in a namespace with a label": Row(
        "bootstrap",
        stored(policies=(policy(appliesToSystem=True, **PROD, **NO_ADMIN),), system_labels={"env": "prod"}),
        WARNING,
        "kept from it by a policy",
    ),
    "a policy that does not reach administrators": Row(
        "bootstrap",
        stored(policies=(policy(**NO_ADMIN), policy("q", appliesToSystem=True, **PROD, **NO_ADMIN))),
        OK,
        "an administrator",
    ),
    "one administrator of two": Row(
        "bootstrap", stored(administrators=(administrator(disabled=True), administrator())), OK, "an administrator"
    ),
    "the right master key": Row("sealed data", stored(), OK, "sealed under 'k1'"),
    "another master key": Row(
        "sealed data",
        stored(master_key=load_master_key(generate_master_key_line("k1"), None)),
        ERROR,
        "not the one this database belongs to",
    ),
    "no master key for what is sealed": Row("sealed data", stored(master_key=None), ERROR, "see `master key`"),
    "a master key that was taken away too early": Row(
        "sealed data", stored(sealed={"k1": 3, "k0": 2}), ERROR, "not among those given|2 under 'k0'|issuer rekey"
    ),
    "a master key that is being replaced": Row(
        "sealed data",
        stored(master_key=NEWER, sealed={"k2": 3, "k1": 2}),
        WARNING,
        "under the current master key 'k2'|2 under 'k1'|issuer rekey",
    ),
    "nothing sealed": Row("sealed data", stored(master_key_check=None), OK, "Nothing is sealed"),
    "rings as they should be": Row("signing keys", stored(), OK, "a key that signs and a spare .default, rs256."),
    "no rings before the first start": Row(
        "signing keys", stored(master_key_check=None, keys=(), keysets=()), OK, "`issuer bootstrap` makes them"
    ),
    "a ring that lost its key": Row(
        "signing keys",
        stored(keys=(key("k0", published=9, activated=9, compromised=1), ring()[1], *ring("rs256"))),
        ERROR,
        "default: no key signs",
    ),
    "a new ring whose key verifiers are getting to know": Row(
        "signing keys", stored(keys=(key("k1", published=0.01), *ring("rs256"))), OK, "default"
    ),
    "a new ring whose key nobody took": Row(
        "signing keys", stored(keys=(key("k1", published=1), *ring("rs256"))), ERROR, "default: no key signs"
    ),
    "a ring without a spare": Row(
        "signing keys", stored(keys=(ring()[0], *ring("rs256"))), WARNING, "default: no published key waits"
    ),
    "a spare that is not published": Row(
        "signing keys", stored(keys=(ring()[0], key("k2"), *ring("rs256"))), WARNING, "default: no published key waits"
    ),
    "a ring with many keys": Row(
        "signing keys",
        stored(keys=(*ring(), *ring("rs256"), key("k3", published=1), key("k4", published=1))),
        WARNING,
        "default: 4 keys are published",
    ),
    "a young key": Row("key rotation", stored(), OK, "No signing key is older"),
    "a key whose time came just now": Row(
        "key rotation", stored(keys=(*ring(age_days=30.0005), *ring("rs256"))), OK, "No signing key is older"
    ),
    "a key whose time is over": Row(
        "key rotation",
        stored(keys=(*ring(age_days=31), *ring("rs256"))),
        WARNING,
        "default: 31 days old, its KeySet says 30|running `serve`",
    ),
    "an old key that is to stay": Row(
        "key rotation", stored(keysets=(keyset(enabled=False),), keys=ring(age_days=31)), OK, "No signing key is older"
    ),
    "an old key whose successor is not known everywhere yet": Row(
        "key rotation",
        stored(keysets=(keyset(),), keys=(ring(age_days=31)[0], key("k2", published=0.01))),
        OK,
        "No signing key is older",
    ),
    "a key that is old by a short day": Row(
        "key rotation", stored(given={"schedule": {"day_s": 60}}), WARNING, "default: 4320 days old"
    ),
    "timing by default": Row("key timing", stored(), OK, "published 25m before its first use and kept 24h15m after"),
    "a lead longer than the interval": Row(
        "key timing",
        stored(keysets=(keyset(intervalDays=1),), given={"keys": {"jwks_max_age_s": 86_400}}),
        ERROR,
        "default: 1 day .24h. is shorter than the 48h15m a key must be published|intervalDays",
    ),
    "a lead beyond what is never rotated": Row(
        "key timing",
        stored(keysets=(keyset(intervalDays=1, enabled=False),), given={"keys": {"jwks_max_age_s": 3600}}),
        OK,
        "published 2h15m",
    ),
    "a JWKS that is kept for hours": Row(
        "key timing", stored(given={"keys": {"jwks_max_age_s": 3601}}), WARNING, "trust a compromised key"
    ),
    "a key that leaves before its last token": Row(
        "key timing",
        stored(keys=(*ring(age_days=0.5), LEAVING, *ring("rs256")), given={"keys": {"jwks_max_age_s": 600}}),
        WARNING,
        "default: k0 stays 24h15m after its last token, and should 24h20m",
    ),
    "a key that leaves in time, whatever tokens may live for today": Row(
        "key timing",
        stored(keys=(*ring(age_days=0.5), LEAVING, *ring("rs256")), given={"tokens": {"max_ttl_s": 600}}),
        OK,
        "kept 25m after",
    ),
    "every secret fetched": Row("deliveries", stored(), OK, "No account waits"),
    "one secret nobody fetched": Row(
        "deliveries", stored(undelivered=("payments/api",)), WARNING, "7 days: 1|payments/api|--resume"
    ),
    "more than fit": Row(
        "deliveries",
        stored(undelivered=tuple(f"n/a{number}" for number in range(MAX_COUNTED))),
        WARNING,
        "7 days: 1000 or more|n/a4|… and 995 more",
    ),
    "decisions that leave in time": Row(
        "retention", stored(given={"audit": {"export_dir": "/exported"}}), OK, "after 30 days, into audit.export_dir"
    ),
    "decisions that may stay a while": Row(
        "retention", stored(), OK, "after 30 days, once there is an audit.export_dir"
    ),
    "no decisions yet": Row("retention", stored(oldest_decisions=None), OK, "leave the database after 30 days"),
    "decisions that cannot leave": Row(
        "retention",
        stored(oldest_decisions=NOW.date() - timedelta(days=33)),
        WARNING,
        "for 33 days, though audit.keep_decisions_days is 30: there is no audit.export_dir|set audit.export_dir",
    ),
    "decisions that do not leave": Row(
        "retention",
        stored(oldest_decisions=NOW.date() - timedelta(days=33), given={"audit": {"export_dir": "/exported"}}),
        WARNING,
        "for 33 days, though audit.keep_decisions_days is 30.|DayKept",
    ),
    "policies without a fault": Row(
        "policies",
        stored(policies=(policy(namespaceSelector={"matchLabels": {"env": "prod"}}, scopes={"denied": ["a"]}),)),
        OK,
        "No policy",
    ),
    "labels that choose defaults and mappings": Row(
        "policies",
        stored(
            policies=(
                policy(
                    selector={"matchLabels": {"tier": "web"}},
                    tokenSettings={"defaultAccessTokenTTL": "5m"},
                    claimMappings=[{"claim": "env", "value": "prod"}],
                ),
            )
        ),
        OK,
        "No policy",
    ),
    **{
        f"labels that choose a ceiling: {', '.join(ceiling)}": Row(
            "policies",
            stored(policies=(policy("tier", selector={"matchLabels": {"tier": "web"}}, **ceiling),)),
            WARNING,
            "ClusterAuthPolicy/tier: spec.selector matches labels that account editors can change",
        )
        for ceiling in (
            {"scopes": {"allowed": ["a"]}},
            {"audiences": {"allowed": ["urn:a"]}},
            {"claims": {"denied": ["a"]}},
            {"tokenSettings": {"maxAccessTokenTTL": "5m"}},
            {"tokenSettings": {"maxTokensPerMinute": 5}},
            {"clientAuthentication": {"allowedMethods": ["client_secret_basic"]}},
            {"credentialRotation": {"required": True}},
            {"credentialRotation": {"maxHoldHours": 5}},
            {"requireRegisteredScopes": True},
        )
    },
    "labels in the hands of the same namespace": Row(
        "policies",
        stored(policies=(policy(namespace="a", selector={"matchLabels": {"x": "y"}}, scopes={"allowed": []}),)),
        OK,
        "No policy",
    ),
    "a constraint nobody can meet": Row(
        "policies",
        stored(policies=(policy("bound", namespace="a", senderConstraint="dpop"),)),
        WARNING,
        "AuthPolicy/bound in a: spec.senderConstraint cannot be met yet",
    ),
}


def said(finding: Finding) -> str:
    return "\n".join((finding.message, *finding.details, finding.next_step))


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_finding(row: Row) -> None:
    finding = BY_NAME[row.check].judge(row.case)
    assert finding.level is row.level, said(finding)
    for words in row.words.split("|"):
        assert re.search(words, said(finding), re.MULTILINE), said(finding)


def test_what_is_wrong_always_comes_with_what_to_do_and_what_is_right_with_nothing() -> None:
    findings = [BY_NAME[row.check].judge(row.case) for row in ROWS.values()]
    assert [finding for finding in findings if bool(finding.next_step) is (finding.level is OK)] == []


def test_every_check_has_rows_for_what_is_right_and_what_is_wrong() -> None:
    levels = {check.name: {row.level for row in ROWS.values() if row.check == check.name} for check in CHECKS}
    assert {name for name, found in levels.items() if OK not in found or not found - {OK}} == set()
    assert len(levels) == len(CHECKS)


def test_checks_whose_case_is_not_known_are_not_made_and_named() -> None:
    report = judge_all(CHECKS, [loaded(), configured(), reached(ReadOnlyStandby())])
    assert report.findings["database"].level is ERROR
    assert set(report.not_made) == {
        check.name for check in CHECKS if check.needs in {type(connected()), type(stored())}
    }
    assert report.findings.keys().isdisjoint(report.not_made)
    assert (report.count(OK), report.count(ERROR)) == (len(report.findings) - 1, 1)
    assert settings() == configured().settings
