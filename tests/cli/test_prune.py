"""`issuer apply --prune`: what left the files goes, and nothing else."""

from typing import Any

import pytest

from tests.cli.fake_issuer import FakeIssuer, Run, failure

GROUP = "/apis/auth.nauthera.io/v1alpha1"
KEPT, GONE = "serviceaccount/kept", "serviceaccount/gone"


def document(kind: str, name: str, namespace: str = "", team: str = "payments") -> str:
    place = f", namespace: {namespace}" if namespace else ""
    spec = {"Scope": "{scope: a}", "ServiceAccount": "{scopes: [a]}"}.get(kind, "{}")
    head = f"apiVersion: auth.nauthera.io/v1alpha1\nkind: {kind}\n"
    return f"---\n{head}metadata: {{name: {name}{place}, labels: {{team: {team}}}}}\nspec: {spec}\n"


KEPT_FILE = document("ServiceAccount", "kept", "payments-prod")
PRUNE = ("apply", "--prune", "-l", "team=payments", "-f", "-")


@pytest.fixture
def stocked(fake: FakeIssuer, run: Run) -> FakeIssuer:
    """Everything that may or may not be pruned, applied by `issuer apply` unless it says otherwise."""
    fake.put("/api/v1/namespaces/elsewhere", {"metadata": {"name": "elsewhere"}})
    texts = [
        KEPT_FILE,
        document("ServiceAccount", "gone", "payments-prod"),
        document("AuthPolicy", "gone", "payments-prod"),
        document("Scope", "gone"),
        document("ClusterAuthPolicy", "gone"),
        document("ServiceAccount", "of-another-team", "payments-prod", team="ledger"),
        document("ServiceAccount", "out-of-reach", "elsewhere"),
    ]
    assert run("apply", "-f", "-", stdin="".join(texts)).exit_code == 0
    metadata: dict[str, Any] = {"name": "by-curl", "namespace": "payments-prod", "labels": {"team": "payments"}}
    fake.put(f"{GROUP}/namespaces/payments-prod/serviceaccounts/by-curl", {"metadata": metadata})
    return fake


def names(fake: FakeIssuer) -> set[str]:
    return {path.removeprefix(GROUP) for path in fake.objects if path.startswith(GROUP)}


def test_what_left_the_files_goes_where_they_reach(stocked: FakeIssuer, run: Run) -> None:
    before = names(stocked)
    result = run(*PRUNE, stdin=KEPT_FILE)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"{KEPT} unchanged in payments-prod",
        f"{GONE} pruned in payments-prod",
        "authpolicy/gone pruned in payments-prod",
        "clusterauthpolicy/gone pruned",
        "scope/gone pruned",
    ]
    assert before - names(stocked) == {
        "/namespaces/payments-prod/serviceaccounts/gone",
        "/namespaces/payments-prod/authpolicies/gone",
        "/clusterauthpolicies/gone",
        "/scopes/gone",
    }


def test_all_spelled_out_takes_every_label_but_only_what_was_applied(stocked: FakeIssuer, run: Run) -> None:
    run("apply", "--prune", "--all", "-f", "-", stdin=KEPT_FILE)
    left = {"kept", "by-curl"}
    assert {path.rpartition("/")[2] for path in names(stocked) if "payments-prod" in path} == left
    assert "/namespaces/elsewhere/serviceaccounts/out-of-reach" in names(stocked)


def test_a_described_namespace_is_in_reach_and_never_pruned_itself(stocked: FakeIssuer, run: Run) -> None:
    text = "{apiVersion: v1, kind: Namespace, metadata: {name: %s, labels: {team: payments}}}"
    run("apply", "-f", "-", stdin=text % "payments-prod")
    assert run(*PRUNE, stdin=text % "elsewhere").exit_code == 0
    assert "/namespaces/elsewhere/serviceaccounts/out-of-reach" not in names(stocked)
    assert "/namespaces/payments-prod/serviceaccounts/gone" in names(stocked)
    assert {path for path in stocked.objects if path.startswith("/api/v1")} == {
        "/api/v1/namespaces/elsewhere",
        "/api/v1/namespaces/payments-prod",
    }


def test_a_dry_run_shows_what_would_go(stocked: FakeIssuer, run: Run) -> None:
    before = names(stocked)
    result = run(*PRUNE, "--dry-run", stdin=KEPT_FILE)
    assert f"{GONE} would be pruned in payments-prod" in result.stdout.splitlines()
    assert names(stocked) == before


def test_what_is_deleted_is_what_was_found_and_not_its_successor(stocked: FakeIssuer, run: Run) -> None:
    path = f"{GROUP}/namespaces/payments-prod/serviceaccounts/gone"
    uid = stocked.objects[path]["metadata"]["uid"]
    run(*PRUNE, stdin=KEPT_FILE)
    assert stocked.body("DELETE") == {"preconditions": {"uid": uid}}


def test_what_is_being_deleted_already_is_left_to_its_finalizers(stocked: FakeIssuer, run: Run) -> None:
    path = f"{GROUP}/namespaces/payments-prod/serviceaccounts/gone"
    metadata = stocked.objects[path]["metadata"] | {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    stocked.put(path, {**stocked.objects[path], "metadata": metadata})
    assert GONE not in run(*PRUNE, stdin=KEPT_FILE).stdout


def test_nothing_is_pruned_when_anything_could_not_be_applied(stocked: FakeIssuer, run: Run) -> None:
    stocked.overrides["POST", "/serviceaccounts"] = lambda _: failure(422, "Invalid", "no")
    result = run(*PRUNE, stdin=KEPT_FILE + document("ServiceAccount", "bad", "payments-prod"))
    assert result.exit_code == 1
    assert "nothing was pruned, because not everything could be applied" in result.stderr
    assert "DELETE" not in {each.method for each in stocked.requests}


def test_a_refused_deletion_fails_and_the_others_go_on(stocked: FakeIssuer, run: Run) -> None:
    stocked.overrides["DELETE", "/serviceaccounts/gone"] = lambda _: failure(409, "Conflict", "managed by eu1/a/b")
    result = run(*PRUNE, stdin=KEPT_FILE)
    assert result.exit_code == 1
    assert "managed by eu1/a/b" in result.stderr
    assert "scope/gone pruned" in result.stdout


def test_a_forgotten_label_is_warned_of(stocked: FakeIssuer, run: Run) -> None:
    del stocked
    result = run(*PRUNE, stdin=KEPT_FILE + document("ServiceAccount", "stray", "payments-prod", team="typo"))
    assert result.exit_code == 0
    assert "Warning: serviceaccount/stray in payments-prod does not match -l team=payments" in result.stderr
    assert "serviceaccount/kept" not in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("--prune",),
        ("--prune", "-l", ""),
        ("--prune", "--all", "-l", "a=b"),
        ("-l", "a=b"),
        ("--all",),
    ],
    ids=["no selector", "an empty selector", "both", "a selector without --prune", "--all without --prune"],
)
def test_what_to_prune_is_said_once_and_clearly(fake: FakeIssuer, run: Run, words: tuple[str, ...]) -> None:
    assert run("apply", *words, "-f", "-", stdin=KEPT_FILE).exit_code == 2
    assert fake.requests == []


def test_no_manifests_prune_nothing(stocked: FakeIssuer, run: Run) -> None:
    stocked.requests.clear()
    result = run(*PRUNE, stdin="# nothing\n")
    assert result.exit_code == 1
    assert "no resources in" in result.stderr
    assert stocked.requests == []
