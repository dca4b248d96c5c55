"""Shell completion: kinds from the table, names from the issuer if one is known, and never any disturbance."""

import os
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from issuer.cli import app
from issuer.cli.completion import TIMEOUT_S
from issuer.model.kinds import KINDS
from tests.cli.fake_issuer import FakeIssuer, failure

V1 = "/apis/auth.nauthera.io/v1alpha1"
KIND_NAMES = {kind.plural for kind in KINDS}
Complete = Callable[..., list[str]]


def completed(shell: str, line: str) -> str:
    """What `issuer` answers the shell's question for the line up to the cursor."""
    words = line.split(" ")
    os.environ |= {
        "_ISSUER_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    result = CliRunner().invoke(app, [], catch_exceptions=False)
    assert result.stderr == ""
    return result.stdout


@pytest.fixture
def complete(stocked: FakeIssuer) -> Complete:
    del stocked
    return lambda line: completed("bash", line).split()


@pytest.fixture
def stocked(fake: FakeIssuer) -> FakeIssuer:
    for namespace in ("default", "payments-prod"):
        fake.put(f"/api/v1/namespaces/{namespace}", {"metadata": {"name": namespace}})
        for name in ("api", "worker"):
            document = {"metadata": {"name": f"{name}-{namespace}", "namespace": namespace}}
            fake.put(f"{V1}/namespaces/{namespace}/serviceaccounts/{name}-{namespace}", document)
    fake.put(f"{V1}/scopes/ledger", {"metadata": {"name": "ledger"}})
    return fake


def test_commands_are_completed(complete: Complete) -> None:
    assert set(complete("issuer de")) == {"delete", "describe", "dev"}


def test_kinds_come_from_the_table_without_asking_anybody(complete: Complete, fake: FakeIssuer) -> None:
    assert set(complete("issuer describe ")) == KIND_NAMES
    assert set(complete("issuer delete ")) == KIND_NAMES
    assert set(complete("issuer get ")) == {*KIND_NAMES, "credentials"}
    assert complete("issuer get serv") == ["serviceaccounts"]
    assert fake.requests == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("issuer get sa ", ["api-default", "worker-default"]),
        ("issuer get sa w", ["worker-default"]),
        ("issuer get sa -n payments-prod ", ["api-payments-prod", "worker-payments-prod"]),
        ("issuer get sa/", ["sa/api-default", "sa/worker-default"]),
        ("issuer delete serviceaccount/w", ["serviceaccount/worker-default"]),
        ("issuer get scopes ", ["ledger"]),
        ("issuer describe scope ", ["ledger"]),
        ("issuer describe sa payments-prod/w", ["payments-prod/worker-payments-prod"]),
        ("issuer edit sa d", ["default/api-default", "default/worker-default"]),
        ("issuer edit sa -n payments-prod w", ["worker-payments-prod"]),
        ("issuer get credentials payments-prod/a", ["payments-prod/api-payments-prod"]),
        ("issuer rotate payments-prod/", ["payments-prod/api-payments-prod", "payments-prod/worker-payments-prod"]),
        ("issuer explain def", ["default/api-default", "default/worker-default"]),
        ("issuer get sa -n p", ["payments-prod"]),
        ("issuer get pods ", []),
        ("issuer get pods/", []),
        ("issuer describe ", sorted(KIND_NAMES)),
        ("issuer rotate x/y -o k", ["k8s-secret"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_names_come_from_the_issuer(complete: Complete, line: str, expected: list[str]) -> None:
    assert sorted(complete(line)) == sorted(expected)


def test_one_page_is_enough_and_the_right_to_read(stocked: FakeIssuer, complete: Complete) -> None:
    complete("issuer rotate ")
    assert stocked.seen == [f"GET {V1}/serviceaccounts"]
    assert stocked.requests[-1].url.params["limit"] == "500"
    assert "scope" not in stocked.forms[0]


def test_a_connection_given_on_the_line_is_used(stocked: FakeIssuer, complete: Complete) -> None:
    complete("issuer get --admin-url https://elsewhere.example sa ")
    assert stocked.requests[-1].url.host == "elsewhere.example"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_is_answered_in_its_own_way(stocked: FakeIssuer, shell: str) -> None:
    del stocked
    assert {word.strip("\"'():") for word in re.split(r"\s+", completed(shell, "issuer explain pay"))} >= {
        "payments-prod/api-payments-prod",
        "payments-prod/worker-payments-prod",
    }


def test_only_possible_names_are_offered(stocked: FakeIssuer, complete: Complete) -> None:
    """zsh evaluates what it is given."""
    for name in ("$(touch owned)", "a b", "`id`", "UPPER", ""):
        stocked.put(f"{V1}/scopes/{name or 'empty'}", {"metadata": {"name": name}})
    assert complete("issuer get scopes ") == ["ledger"]


def dead(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("nobody there", request=request)


def slow(request: httpx.Request) -> httpx.Response:
    assert set(request.extensions["timeout"].values()) == {TIMEOUT_S}
    raise httpx.ReadTimeout("too late", request=request)


@pytest.mark.parametrize(
    "answer",
    [
        dead,
        slow,
        lambda _: failure(403, "Forbidden", "no"),
        lambda _: httpx.Response(200, text="<html>"),
        lambda _: httpx.Response(200, json={"items": [{"metadata": None}]}),
    ],
    ids=["not running", "too slow", "not allowed", "no admin API", "nonsense"],
)
def test_trouble_offers_nothing_and_says_nothing(stocked: FakeIssuer, complete: Complete, answer: Any) -> None:
    stocked.overrides["GET", ""] = answer
    assert complete("issuer rotate ") == []


def test_without_a_configured_issuer_nobody_is_asked(stocked: FakeIssuer, complete: Complete) -> None:
    for name in [name for name in os.environ if name.startswith("ISSUER_")]:
        del os.environ[name]
    assert complete("issuer rotate ") == []
    assert set(complete("issuer describe ")) == KIND_NAMES
    assert stocked.requests == []


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_can_be_had(shell: str) -> None:
    os.environ["_ISSUER_COMPLETE"] = f"source_{shell}"
    script = CliRunner().invoke(app, [], catch_exceptions=False).stdout
    assert f"_ISSUER_COMPLETE=complete_{shell}" in script


def test_completion_can_be_installed() -> None:
    options = CliRunner().invoke(app, ["--help"]).stdout
    assert "--install-completion" in options
    assert "--show-completion" in options
