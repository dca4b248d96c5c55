"""`issuer get` and `issuer delete`."""

import json

import httpx
import pytest

from tests.cli.fake_issuer import FakeIssuer, Run

ACCOUNTS = "/apis/auth.nauthera.io/v1alpha1/namespaces/payments-prod/serviceaccounts"
LONG = "scope:" + "x" * 200


@pytest.fixture
def stocked(fake: FakeIssuer) -> FakeIssuer:
    for name in ("payment-service", "evil\x1b[2J"):
        spec = {"scopes": ["api:payments", LONG]}
        metadata = {"name": name, "namespace": "payments-prod", "creationTimestamp": "2020-01-01T00:00:00Z"}
        fake.put(f"{ACCOUNTS}/{name}", {"metadata": metadata, "spec": spec, "status": {"phase": "Active"}})
    return fake


@pytest.mark.usefixtures("stocked")
def test_a_table_is_aligned_and_never_cut_off(run: Run) -> None:
    lines = run("get", "sa", "-n", "payments-prod").stdout.splitlines()
    assert lines[0].split("  ")[0] == "NAME"
    assert len(lines) == 3
    assert f"api:payments,{LONG}" in lines[2]
    assert {line.index("Active") for line in lines[1:]} == {lines[0].index("PHASE")}
    assert lines[0].rstrip().endswith("AGE")


@pytest.mark.usefixtures("stocked")
def test_a_table_holds_nothing_that_moves_the_cursor(run: Run) -> None:
    assert "\x1b" not in run("get", "sa", "-n", "payments-prod").stdout


def test_all_namespaces_add_a_column_and_drop_the_namespace_from_the_path(stocked: FakeIssuer, run: Run) -> None:
    result = run("get", "serviceaccounts", "-A")
    assert result.stdout.startswith("NAMESPACE")
    assert stocked.seen == ["GET /apis/auth.nauthera.io/v1alpha1/serviceaccounts"]


@pytest.mark.usefixtures("stocked")
@pytest.mark.parametrize("words", [("sa", "payment-service"), ("ServiceAccount/payment-service",)])
def test_one_object_by_either_spelling(run: Run, words: tuple[str, ...]) -> None:
    result = run("get", *words, "-n", "payments-prod", "-o", "json")
    assert json.loads(result.stdout)["metadata"]["name"] == "payment-service"


def test_reading_asks_for_no_scope_and_writing_for_the_admin_scope(stocked: FakeIssuer, run: Run) -> None:
    run("get", "namespaces")
    run("delete", "sa/payment-service", "-n", "payments-prod")
    reading, writing = stocked.forms
    assert "scope" not in reading
    assert writing["scope"] == ["issuer:admin"]
    assert reading["resource"] == writing["resource"] == ["urn:issuer:admin"]


def test_every_page_of_a_list_is_fetched_with_one_token(stocked: FakeIssuer, run: Run) -> None:
    def page(request: httpx.Request) -> httpx.Response:
        first = "continue" not in request.url.params
        metadata = {"continue": "next"} if first else {}
        return httpx.Response(200, json={"items": [{"metadata": {"name": f"n{first:d}"}}], "metadata": metadata})

    stocked.overrides["GET", "/namespaces"] = page
    assert "n1" in (text := run("get", "ns").stdout)
    assert "n0" in text
    assert len(stocked.forms) == 1


def test_an_empty_list_says_where_it_looked(run: Run) -> None:
    result = run("get", "sa", "-n", "payments-prod")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert result.stderr == "There are no serviceaccounts in payments-prod. -A looks in all namespaces.\n"


def test_an_empty_list_as_json_is_a_list(run: Run) -> None:
    assert json.loads(run("get", "sa", "-n", "payments-prod", "-o", "json").stdout)["items"] == []


@pytest.mark.usefixtures("stocked")
def test_what_is_not_there_says_where_to_look(run: Run) -> None:
    missing_object = run("get", "sa/nobody", "-n", "payments-prod")
    assert missing_object.exit_code == 1
    assert "`issuer get serviceaccounts -n payments-prod` shows which there are" in missing_object.stderr
    missing_namespace = run("get", "sa/nobody", "-n", "nowhere")
    assert "`issuer get namespaces` shows which there are" in missing_namespace.stderr


@pytest.mark.usefixtures("stocked")
def test_delete_says_what_it_deleted_and_fails_the_second_time(run: Run) -> None:
    words = ("delete", "serviceaccount", "payment-service", "-n", "payments-prod")
    assert run(*words).stdout == "serviceaccount/payment-service deleted\n"
    assert run(*words).exit_code == 1
    assert run(*words, "--ignore-not-found").exit_code == 0


@pytest.mark.usefixtures("stocked")
def test_delete_by_file_takes_namespaces_last(run: Run) -> None:
    text = (
        "{apiVersion: v1, kind: Namespace, metadata: {name: payments-prod}}\n---\n"
        "{apiVersion: auth.nauthera.io/v1alpha1, kind: ServiceAccount,"
        " metadata: {name: payment-service, namespace: payments-prod}}\n"
    )
    result = run("delete", "-f", "-", stdin=text)
    assert result.stdout.splitlines() == ["serviceaccount/payment-service deleted", "namespace/payments-prod deleted"]


def test_force_is_passed_on(stocked: FakeIssuer, run: Run) -> None:
    run("delete", "sa/payment-service", "-n", "payments-prod", "--force")
    assert stocked.requests[-1].url.params["force"] == "true"
