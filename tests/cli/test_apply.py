"""`issuer apply`: everything read before anything is written, everything tried, every failure said."""

import json
from pathlib import Path

import httpx
import pytest

from issuer.manifests import parse_documents
from tests.cli.fake_issuer import FakeIssuer, Run, failure

ACCOUNT = """
apiVersion: auth.nauthera.io/v1alpha1
kind: ServiceAccount
metadata: {name: %s, namespace: %s}
spec: {scopes: ["api:payments"]}
"""
NAMESPACE = """
apiVersion: v1
kind: Namespace
metadata: {name: %s}
"""
ACCOUNTS = "/apis/auth.nauthera.io/v1alpha1/namespaces/payments-prod/serviceaccounts"


def account(name: str = "payment-service", namespace: str = "payments-prod") -> str:
    return ACCOUNT % (name, namespace)


def test_created_then_unchanged_then_configured(run: Run) -> None:
    Path("a.yaml").write_text(account())
    assert run("apply", "-f", "a.yaml").stdout == "serviceaccount/payment-service created in payments-prod\n"
    assert run("apply", "-f", "a.yaml").stdout == "serviceaccount/payment-service unchanged in payments-prod\n"
    Path("a.yaml").write_text(account().replace("api:payments", "api:other"))
    assert run("apply", "-f", "a.yaml").stdout == "serviceaccount/payment-service configured in payments-prod\n"


def test_a_syntax_error_in_any_file_writes_nothing(fake: FakeIssuer, run: Run) -> None:
    Path("a.yaml").write_text(account())
    Path("b.yaml").write_text("kind: [")
    result = run("apply", "-f", ".")
    assert result.exit_code == 1
    assert fake.requests == []
    assert "b.yaml: line " in result.stderr


def test_every_unusable_document_is_named_at_once(fake: FakeIssuer, run: Run) -> None:
    Path("a.yaml").write_text(
        "kind: Pod\napiVersion: v1\nmetadata: {name: x}\n---\njust text\n---\n" + account(name="''")
    )
    result = run("apply", "-f", "a.yaml")
    assert result.exit_code == 1
    assert fake.requests == []
    assert "a.yaml, document 1: v1 Pod is not a kind of ours: Namespace (v1), ServiceAccount" in result.stderr
    assert "a.yaml, document 2: not an object" in result.stderr
    assert "a.yaml, document 3: '' cannot be the name" in result.stderr


def test_kubernetes_own_service_account_is_not_ours(run: Run) -> None:
    Path("a.yaml").write_text(account().replace("auth.nauthera.io/v1alpha1", "v1"))
    result = run("apply", "-f", "a.yaml")
    assert "v1 ServiceAccount is not a kind of ours" in result.stderr
    assert "ServiceAccount (auth.nauthera.io/v1alpha1)" in result.stderr


def test_all_are_tried_all_causes_are_said_and_any_failure_is_the_exit_code(fake: FakeIssuer, run: Run) -> None:
    def refuse_bad(request: httpx.Request) -> httpx.Response:
        if b"bad" in request.content:
            causes = (("spec.scopes[1]", "must be a scope token"), ("spec.foo", "unknown field"))
            return failure(422, "Invalid", "ServiceAccount bad is invalid: spec.scopes[1]: must", *causes)
        return fake.resource(request)

    fake.overrides["POST", "/serviceaccounts"] = refuse_bad
    Path("a.yaml").write_text(account("bad") + "---" + account("good"))
    result = run("apply", "-f", "a.yaml")
    assert result.exit_code == 1
    assert result.stdout == "serviceaccount/good created in payments-prod\n"
    assert result.stderr.splitlines() == [
        "error: serviceaccount/bad in payments-prod: ServiceAccount bad is invalid",
        "  spec.scopes[1]: must be a scope token",
        "  spec.foo: unknown field",
    ]


def test_a_missing_namespace_says_how_to_make_it(run: Run) -> None:
    result = run("apply", "-f", "-", stdin=account(namespace="payments-dev"))
    assert result.exit_code == 1
    assert "add --create-namespaces, or first make the namespace payments-dev" in result.stderr


def test_create_namespaces_makes_only_what_is_missing(run: Run) -> None:
    result = run("apply", "--create-namespaces", "-f", "-", stdin=account() + "---" + account(namespace="payments-dev"))
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "namespace/payments-dev created",
        "serviceaccount/payment-service created in payments-prod",
        "serviceaccount/payment-service created in payments-dev",
    ]


def test_namespaces_come_first(run: Run) -> None:
    result = run("apply", "-f", "-", stdin=account(namespace="new") + "---" + NAMESPACE % "new")
    assert result.stdout.splitlines()[0] == "namespace/new created"
    assert result.exit_code == 0


def test_a_list_is_its_items(run: Run) -> None:
    items = [document for name in ("a", "b") for document in parse_documents(account(name))]
    result = run(
        "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent="\t")
    )
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["serviceaccount/a", "serviceaccount/b"]


def test_what_get_wrote_can_be_applied(run: Run) -> None:
    run("apply", "-f", "-", stdin=account())
    listed = run("get", "sa", "-n", "payments-prod", "-o", "yaml").stdout
    assert parse_documents(listed)[0]["kind"] == "List"
    result = run("apply", "-f", "-", stdin=listed)
    assert result.stdout == "serviceaccount/payment-service unchanged in payments-prod\n"


@pytest.mark.parametrize("argument", [[], ["-R"]], ids=["flat", "recursive"])
def test_folders_are_read_flat_unless_recursive(run: Run, argument: list[str]) -> None:
    Path("in/deep").mkdir(parents=True)
    Path("in/a.yml").write_text(account("a"))
    Path("in/notes.txt").write_text("not ours")
    Path("in/deep/b.json").write_text(json.dumps(parse_documents(account("b"))[0]))
    result = run("apply", "-f", "in", *argument)
    assert result.stdout.count("created") == 1 + len(argument)


def test_the_namespace_option_fills_in_and_never_overrules(run: Run) -> None:
    without = account().replace(", namespace: payments-prod", "")
    assert " in payments-prod" in run("apply", "-n", "payments-prod", "-f", "-", stdin=without).stdout
    result = run("apply", "-n", "payments-dev", "-f", "-", stdin=account())
    assert result.exit_code == 1
    assert "its namespace 'payments-prod' is not the one of -n, 'payments-dev'" in result.stderr


def test_an_unknown_field_beside_spec_reaches_the_server(fake: FakeIssuer, run: Run) -> None:
    run("apply", "-f", "-", stdin=account() + "specs: {}\n")
    assert "specs" in fake.body("POST")


def test_warnings_go_to_standard_error(fake: FakeIssuer, run: Run) -> None:
    def warn(request: httpx.Request) -> httpx.Response:
        response = fake.resource(request)
        response.headers["warning"] = '299 - "select by \\"namespaceSelector\\"", 299 - "second"'
        return response

    fake.overrides["POST", "/serviceaccounts"] = warn
    result = run("apply", "-f", "-", stdin=account())
    assert result.stderr.splitlines() == ['Warning: select by "namespaceSelector"', "Warning: second"]


@pytest.mark.parametrize(
    "arguments", [("apply",), ("delete",), ("delete", "sa"), ("get", "pods"), ("delete", "sa/"), ("get", "sa/..")]
)
def test_a_command_that_makes_no_sense_is_exit_code_2(fake: FakeIssuer, run: Run, arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2
    assert fake.seen == []
