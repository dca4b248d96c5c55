"""`issuer describe` and `issuer get credentials`: everything about one object, for people."""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from issuer.model.times import format_time
from tests.cli.fake_issuer import FakeIssuer, Run, failure

NAMESPACE = "/apis/auth.nauthera.io/v1alpha1/namespaces/payments-prod"
ACCOUNT = f"{NAMESPACE}/serviceaccounts/payment-service"
UID = "5f0c1d3e-0000-4000-8000-000000000001"
NOW = datetime(2027, 1, 15, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def standing_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ages are told by the machine's clock, which stands still here."""
    monkeypatch.setattr(time, "time", NOW.timestamp)


def at(**parts: float) -> str:
    return format_time(NOW + timedelta(**parts))


def version(number: int, state: str, **instants: str) -> dict[str, Any]:
    return {"version": number, "state": state, "createdAt": at(days=-9), **instants}


def account(*, spec: Mapping[str, Any] | None = None, status: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "payment-service",
            "namespace": "payments-prod",
            "uid": UID,
            "generation": 3,
            "creationTimestamp": at(days=-9),
            "labels": {"team": "payments"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{noise}", "note": "mind\x1b[2J it"},
        },
        "spec": {"displayName": "Payments", "scopes": ["api:payments", "api:ledger:read"], **(spec or {})},
        "status": {
            "clientId": f"sa-{UID}",
            "phase": "Active",
            "conditions": [
                {"type": "Ready", "status": "True", "reason": "Active", "lastTransitionTime": at(days=-9)},
                {"type": "CredentialsProvisioned", "status": "True", "reason": "SecretCreated"},
            ],
            "credentials": [version(1, "grace", retiresAt=at(hours=20.5)), version(2, "active")],
            "effective": {"scopes": ["api:payments", "api:ledger:read"], "accessTokenTTL": "5m"},
            **(status or {}),
        },
    }


def record(verb: str, before: Any = None, after: Any = None, **note: Any) -> dict[str, Any]:
    parts = {"before": before, "after": after, "note": note}
    return {
        "metadata": {"name": "1", "creationTimestamp": at(minutes=-4.5)},
        "principal": {"kind": "account", "name": "issuer-system/admin"},
        "verb": verb,
        **{key: value for key, value in parts.items() if value},
    }


@pytest.fixture
def issuer(fake: FakeIssuer) -> FakeIssuer:
    fake.put(ACCOUNT, account())
    told(fake)
    return fake


def told(fake: FakeIssuer, *records: dict[str, Any]) -> None:
    """What the list of audit records answers."""
    fake.overrides["GET", "/auditrecords"] = lambda _: httpx.Response(200, json={"items": list(records)})


def section(output: str, title: str) -> list[str]:
    """The lines below a title, up to the next empty line."""
    lines = output.splitlines()
    assert f"{title}:" in lines, output
    rest = lines[lines.index(f"{title}:") + 1 :]
    return rest[: rest.index("") if "" in rest else None]


# --- describe --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("serviceaccount", "payment-service", "-n", "payments-prod"),
        ("sa/payment-service", "-n", "payments-prod"),
        ("sa", "payments-prod/payment-service"),
        ("payments-prod/payment-service",),
    ],
    ids=" ".join,
)
def test_one_object_by_every_spelling(issuer: FakeIssuer, run: Run, words: tuple[str, ...]) -> None:
    result = run("describe", *words)
    assert result.exit_code == 0, result.output
    assert issuer.seen == [f"GET {ACCOUNT}", f"GET {ACCOUNT}/usage", f"GET {NAMESPACE}/auditrecords"]
    assert dict(issuer.requests[-1].url.params) == {"uid": UID, "limit": "10"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sa",), "which ServiceAccount?"),
        (("pods", "x"), "no kind is called 'pods'"),
        (("sa", "a/b", "-n", "c"), "its namespace is not the one of -n"),
        (("namespace", "a/b"), "a Namespace is in no namespace"),
        (("sa", "a/b/c"), "cannot be the name"),
        (("sa", "a/"), "cannot be the name"),
        (("sa/x", "y"), "one name is enough"),
    ],
    ids=str,
)
def test_what_names_no_object_is_exit_code_2(issuer: FakeIssuer, run: Run, words: tuple[str, ...], said: str) -> None:
    result = run("describe", *words)
    assert (result.exit_code, issuer.requests) == (2, [])
    assert said in result.stderr


def test_the_head_names_it_and_leaves_out_what_is_for_programs(issuer: FakeIssuer, run: Run) -> None:
    del issuer
    head = run("describe", "payments-prod/payment-service").stdout.split("\n\n")[0]
    told = {label: rest.strip() for label, _, rest in (line.partition(":") for line in head.splitlines())}
    assert told["Name"] == "payment-service"
    assert told["Namespace"] == "payments-prod"
    assert told["Kind"] == "ServiceAccount (auth.nauthera.io/v1alpha1)"
    assert told["UID"] == UID
    assert told["Created"] == f"{at(days=-9)} (9d ago)"
    assert told["Labels"] == "team=payments"
    assert told["Annotations"] == "note=mind\\x1b[2J it"


def test_every_part_has_a_section_and_no_part_two(issuer: FakeIssuer, run: Run) -> None:
    del issuer
    output = run("describe", "payments-prod/payment-service").stdout
    assert "  displayName: Payments" in section(output, "Spec")
    assert section(output, "Status") == [f"  clientId: sa-{UID}", "  phase: Active"]
    assert [line.split()[:3] for line in section(output, "Conditions")] == [
        ["TYPE", "STATUS", "REASON"],
        ["Ready", "True", "Active"],
        ["CredentialsProvisioned", "True", "SecretCreated"],
    ]
    assert "  accessTokenTTL: 5m" in section(output, "Effective, after policy")
    assert "MESSAGE" not in output
    assert section(output, "Recent events") == ["  none are kept"]
    assert "Warnings:" not in output


def test_a_condition_tells_its_message_if_it_has_one(issuer: FakeIssuer, run: Run) -> None:
    ready = {"type": "Ready", "status": "True", "reason": "Active", "message": "at\nlast"}
    issuer.put(ACCOUNT, account(status={"conditions": [ready]}))
    header, line = section(run("describe", "payments-prod/payment-service").stdout, "Conditions")
    assert header.split() == ["TYPE", "STATUS", "REASON", "MESSAGE", "SINCE"]
    assert "at\\nlast" in line


def test_credentials_say_what_becomes_of_them(issuer: FakeIssuer, run: Run) -> None:
    due = at(days=30)
    issuer.put(ACCOUNT, account(status={"nextCredentialRotation": due}))
    header, newest, older = section(run("describe", "payments-prod/payment-service").stdout, "Credentials")
    assert header.split() == ["VERSION", "STATE", "CREATED", "RETIRES", "NEXT"]
    assert newest.split()[:2] == ["2", "active"]
    assert newest.rstrip().endswith(f"rotation is due {due}")
    assert older.split()[:2] == ["1", "grace"]
    assert f"{at(hours=20.5)} (in 20h)" in older
    assert older.rstrip().endswith("accepted until it retires")


def use(issued: int, refused: int, ago: float, **what: str) -> dict[str, Any]:
    return {**what, "issued": issued, "refused": refused, "lastUsed": at(minutes=-ago)}


def used(fake: FakeIssuer, **parts: Any) -> None:
    """What `/usage` answers."""
    empty = {
        "since": "2026-12-17",
        "issued": 0,
        "refused": 0,
        "days": [],
        "credentials": [],
        "scopes": [],
        "sources": [],
    }
    fake.overrides["GET", "/usage"] = lambda _: httpx.Response(200, json=empty | parts)


def test_usage_says_how_often_when_last_by_what_and_from_where(issuer: FakeIssuer, run: Run) -> None:
    used(
        issuer,
        **use(9, 1, 3.5),
        credentials=[use(8, 0, 3.5, credential="secret/2"), use(1, 1, 90.5, credential="secret/1")],
        scopes=[use(9, 0, 3.5, scope="api:payments", audience="https://a.example"), use(0, 1, 9.5, scope="?")],
        sources=[use(9, 1, 3.5, source="192.0.2.1"), use(1, 0, 9.5)],
    )
    header, *lines = section(run("describe", "payments-prod/payment-service").stdout, "Usage since 2026-12-17")
    assert header.split() == ["BY", "TOKENS", "REFUSED", "LAST", "USED"]
    assert [line.split("   ")[0].strip() for line in lines] == [
        "the account",
        "credential secret/2",
        "credential secret/1",
        "scope api:payments for https://a.example",
        "scope not its own",
        "source 192.0.2.1",
        "source all others",
    ]
    assert lines[0].split()[2:] == ["9", "1", at(minutes=-3.5), "(3m", "ago)"]


def test_an_account_that_was_never_used_says_so_and_an_older_issuer_says_nothing(issuer: FakeIssuer, run: Run) -> None:
    assert "Usage" not in run("describe", "payments-prod/payment-service").stdout
    used(issuer)
    assert section(run("describe", "payments-prod/payment-service").stdout, "Usage since 2026-12-17") == ["  none"]


def test_events_tell_who_did_what_and_in_short_what_changed(issuer: FakeIssuer, run: Run) -> None:
    before, after = account(), account(spec={"disabled": True, "scopes": ["api:payments", "api:x"]})
    after["metadata"]["labels"] = {}
    after["status"]["phase"] = "Disabled"
    after["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = "{other noise}"
    told(issuer, record("patch", before, after), record("create credentials", before, before, version=2, made=True))
    header, patched, rotated = section(run("describe", "payments-prod/payment-service").stdout, "Recent events")
    assert header.split() == ["WHEN", "WHO", "DID", "WHAT", "CHANGED"]
    assert patched.split("   ")[:2] == [f"  {at(minutes=-4.5)} (4m ago)", "issuer-system/admin"]
    assert patched.partition("patch")[2].strip().split(", ") == [
        "metadata.labels.team: payments → none",
        "spec.scopes: -api:ledger:read +api:x",
        "spec.disabled: none → true",
        "status.phase: Active → Disabled",
    ]
    assert rotated.rstrip().endswith("create credentials   version 2, made")


def test_an_event_that_changed_a_lot_is_told_in_short(issuer: FakeIssuer, run: Run) -> None:
    after = account(spec={f"field{number}": "x" * 100 for number in range(9)})
    told(issuer, record("update", account(), after))
    (line,) = section(run("describe", "payments-prod/payment-service").stdout, "Recent events")[1:]
    assert line.count("field") == 5
    assert "x" * 41 not in line
    assert line.rstrip().endswith("and 4 more")


AWAITING = {"conditions": [{"type": "CredentialsProvisioned", "status": "False", "reason": "AwaitingDelivery"}]}


@pytest.mark.parametrize(
    ("spec", "status", "said"),
    [
        ({"disabled": True}, {}, "It is disabled"),
        ({"expiresAt": at(days=3, hours=1)}, {}, "It expires and gets no token from then on"),
        ({"expiresAt": at(days=-1)}, {}, "It expired and gets no token"),
        ({"reviewBy": at(days=-3)}, {}, "Its review is overdue"),
        ({"reviewBy": at(days=3)}, {}, "Its review is due"),
        ({}, {"nextCredentialRotation": at(days=-3)}, "The rotation of its secret is overdue"),
        ({}, AWAITING, "AwaitingDelivery: nobody said that version 2 of its secret is stored"),
        (
            {},
            {"effective": {"scopes": ["api:payments"], "accessTokenTTL": "5m"}},
            "Its spec lists api:ledger:read, but",
        ),
        ({}, {"effective": {"scopes": []}}, "No token would be granted to it now"),
    ],
    ids=str,
)
def test_what_somebody_should_see_to_is_a_warning(
    issuer: FakeIssuer, run: Run, spec: dict[str, Any], status: dict[str, Any], said: str
) -> None:
    issuer.put(ACCOUNT, account(spec=spec, status=status))
    (warning,) = section(run("describe", "payments-prod/payment-service").stdout, "Warnings")
    assert said in warning


@pytest.mark.parametrize("field", ["expiresAt", "reviewBy"])
def test_what_is_far_away_is_no_warning(issuer: FakeIssuer, run: Run, field: str) -> None:
    status = {"nextCredentialRotation": at(days=1)}
    issuer.put(ACCOUNT, account(spec={field: at(days=60)}, status=status))
    assert "Warnings:" not in run("describe", "payments-prod/payment-service").stdout


def test_what_is_being_deleted_says_what_it_waits_for(issuer: FakeIssuer, run: Run) -> None:
    ending = account()
    ending["metadata"] |= {"deletionTimestamp": at(minutes=-5), "finalizers": ["example.com/hold"]}
    issuer.put(ACCOUNT, ending)
    (warning,) = section(run("describe", "payments-prod/payment-service").stdout, "Warnings")
    assert warning.endswith("waits for example.com/hold.")


def test_a_cluster_scoped_kind_is_described_too(issuer: FakeIssuer, run: Run) -> None:
    path = "/apis/auth.nauthera.io/v1alpha1/clusterauthpolicies/production"
    issuer.put(
        path,
        {
            "metadata": {"name": "production", "uid": UID},
            "spec": {"tokenSettings": {"maxAccessTokenTTL": "15m"}},
        },
    )
    result = run("describe", "clusterauthpolicy", "production")
    assert result.exit_code == 0, result.output
    assert issuer.seen == [f"GET {path}", "GET /apis/auth.nauthera.io/v1alpha1/auditrecords"]
    assert "    maxAccessTokenTTL: 15m" in section(result.stdout, "Spec")
    assert "Namespace:" not in result.stdout
    assert "Credentials:" not in result.stdout


def test_an_object_that_is_not_there_says_which_there_are(issuer: FakeIssuer, run: Run) -> None:
    result = run("describe", "sa", "payments-prod/nobody")
    assert result.exit_code == 1
    assert "serviceaccount/nobody in payments-prod" in result.stderr
    assert "`issuer get serviceaccounts -n payments-prod` shows which there are" in result.stderr
    assert issuer.seen == [f"GET {NAMESPACE}/serviceaccounts/nobody"]


# --- get credentials -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [("payments-prod/payment-service",), ("payment-service", "-n", "payments-prod")], ids=" ".join
)
def test_credentials_are_a_table_with_the_newest_first(issuer: FakeIssuer, run: Run, words: tuple[str, ...]) -> None:
    result = run("get", "credentials", *words)
    assert result.exit_code == 0, result.output
    assert issuer.seen == [f"GET {ACCOUNT}"]
    assert "scope" not in issuer.forms[0]
    header, *rows = result.stdout.splitlines()
    assert header.split() == ["VERSION", "STATE", "CREATED", "RETIRES", "NEXT"]
    assert [row.split()[:2] for row in rows] == [["2", "active"], ["1", "grace"]]
    assert f"{at(days=-9)} (9d ago)   <none>" in rows[0]


def test_the_last_use_is_shown_where_the_issuer_knows_it(issuer: FakeIssuer, run: Run) -> None:
    versions = [version(1, "retired"), version(2, "active", lastUsed=at(minutes=-3))]
    issuer.put(ACCOUNT, account(status={"credentials": versions}))
    header, newest, older = run("get", "credentials", "payments-prod/payment-service").stdout.splitlines()
    assert "LAST USED" in header
    assert f"{at(minutes=-3)} (3m ago)" in newest
    assert older.split()[-2:] == ["<none>", "refused"]


@pytest.mark.parametrize(
    ("state", "conditions", "said"),
    [
        ("pending", AWAITING, "waits for its driver to store it"),
        ("active", AWAITING, "in use, but nobody said that it is stored"),
        ("active", {}, "in force"),
    ],
)
def test_the_next_step_of_the_newest_follows_from_its_delivery(
    issuer: FakeIssuer, run: Run, state: str, conditions: dict[str, Any], said: str
) -> None:
    issuer.put(ACCOUNT, account(status={"credentials": [version(1, state)], **conditions}))
    assert run("get", "credentials", "payments-prod/payment-service").stdout.rstrip().endswith(said)


def test_programs_get_what_the_status_lists(issuer: FakeIssuer, run: Run) -> None:
    del issuer
    result = run("get", "credentials", "payments-prod/payment-service", "-o", "json")
    assert [each["version"] for each in json.loads(result.stdout)] == [1, 2]


def test_an_account_without_a_secret_has_none(issuer: FakeIssuer, run: Run) -> None:
    issuer.put(ACCOUNT, account(status={"credentials": []}))
    result = run("get", "credentials", "payments-prod/payment-service")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "it accepts no client secret" in result.stderr


@pytest.mark.parametrize("words", [(), ("-A",), ("a/",), ("A", "-n", "b"), ("-l", "x=y")], ids=str)
def test_credentials_of_nobody_are_exit_code_2(issuer: FakeIssuer, run: Run, words: tuple[str, ...]) -> None:
    assert run("get", "credentials", *words).exit_code == 2
    assert issuer.requests == []


def test_credentials_of_an_account_that_is_not_there_say_so(issuer: FakeIssuer, run: Run) -> None:
    issuer.overrides["GET", "/nobody"] = lambda _: failure(404, "NotFound", "not found", kind="ServiceAccount")
    result = run("get", "credentials", "payments-prod/nobody")
    assert result.exit_code == 1
    assert "`issuer get serviceaccounts -n payments-prod` shows which there are" in result.stderr
