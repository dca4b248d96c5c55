"""`issuer diff`: the difference `issuer apply` would make, and the exit codes of diff(1)."""

import httpx
import pytest

from tests.cli.fake_issuer import FakeIssuer, Run, failure

PATH = "/apis/auth.nauthera.io/v1alpha1/namespaces/payments-prod/serviceaccounts/payment-service"
ACCOUNT = """
apiVersion: auth.nauthera.io/v1alpha1
kind: ServiceAccount
metadata: {name: payment-service, namespace: payments-prod}
spec: {scopes: [a], purpose: pay}
"""


@pytest.fixture
def applied(fake: FakeIssuer, run: Run) -> FakeIssuer:
    run("apply", "-f", "-", stdin=ACCOUNT)
    fake.put(PATH, {**fake.objects[PATH], "status": {"phase": "Pending"}})
    fake.requests.clear()
    return fake


def test_no_difference_is_exit_code_0_and_no_output(applied: FakeIssuer, run: Run) -> None:
    result = run("diff", "-f", "-", stdin=ACCOUNT)
    assert (result.exit_code, result.output) == (0, "")
    assert all(each.url.params.get("dryRun") == "All" for each in applied.requests if each.method == "PATCH")


def test_a_difference_is_a_unified_diff_and_exit_code_1(applied: FakeIssuer, run: Run) -> None:
    before = dict(applied.objects)
    result = run("diff", "-f", "-", stdin=ACCOUNT.replace("scopes: [a], purpose: pay", "scopes: [a, b]"))
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "--- live serviceaccount/payment-service in payments-prod",
        "+++ applied serviceaccount/payment-service in payments-prod",
        "@@ -4,6 +4,6 @@",
        "   name: payment-service",
        "   namespace: payments-prod",
        " spec:",
        "-  purpose: pay",
        "   scopes:",
        "   - a",
        "+  - b",
    ]
    assert applied.objects == before


def test_what_does_not_exist_is_all_new(run: Run) -> None:
    result = run("diff", "-f", "-", stdin=ACCOUNT)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()[3:]
    assert lines[0] == "+apiVersion: auth.nauthera.io/v1alpha1"
    assert all(line.startswith("+") for line in lines)
    assert "last-applied" not in result.stdout


def test_what_stands_in_a_namespace_that_does_not_exist_is_shown_unchecked(run: Run) -> None:
    result = run("diff", "-f", "-", stdin=ACCOUNT.replace("payments-prod", "new"))
    assert result.exit_code == 1
    assert "+  namespace: new" in result.stdout
    assert "is not checked by the issuer" in result.stderr


def test_an_account_that_stays_disabled_is_no_difference(applied: FakeIssuer, run: Run) -> None:
    spec = {**applied.objects[PATH]["spec"], "disabled": True}
    applied.put(PATH, {**applied.objects[PATH], "spec": spec})
    result = run("diff", "-f", "-", stdin=ACCOUNT)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "stays disabled" in result.stderr


@pytest.mark.parametrize("trouble", ["refused", "unreadable", "unreachable", "unusable"])
def test_trouble_is_exit_code_2(applied: FakeIssuer, run: Run, trouble: str) -> None:
    def unreachable(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    if trouble == "refused":
        applied.overrides["PATCH", "/payment-service"] = lambda _: failure(422, "Invalid", "no")
    if trouble == "unreachable":
        applied.overrides["GET", "/payment-service"] = unreachable
    text = {"unreadable": "kind: [", "unusable": ""}.get(trouble, ACCOUNT)
    result = run("diff", "-f", "-", stdin=text)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")


def test_a_terminal_sees_colours_and_nobody_else(
    applied: FakeIssuer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    del applied
    changed = ACCOUNT.replace("[a]", "[b]")
    assert "\x1b" not in run("diff", "-f", "-", stdin=changed).stdout
    monkeypatch.setattr("rich.console.Console._environ", {"FORCE_COLOR": "1", "TERM": "xterm"})
    assert "\x1b[32m+  - b\x1b[0m" in run("diff", "-f", "-", stdin=changed).stdout
