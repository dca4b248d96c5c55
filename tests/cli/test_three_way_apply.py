"""`issuer apply` and what others did to the object meanwhile."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from issuer.cli.lastapplied import ANNOTATION, record_of
from issuer.manifests import parse_documents
from tests.cli.fake_issuer import FakeIssuer, Run, failure

ACCOUNTS = "/apis/auth.nauthera.io/v1alpha1/namespaces/payments-prod/serviceaccounts"
PATH = f"{ACCOUNTS}/payment-service"
HEAD = "apiVersion: auth.nauthera.io/v1alpha1\nkind: ServiceAccount\n"
ACCOUNT = HEAD + "metadata: {name: payment-service, namespace: payments-prod}\nspec: {scopes: [a]}\n"
UNCHANGED = "serviceaccount/payment-service unchanged in payments-prod\n"
CONFIGURED = "serviceaccount/payment-service configured in payments-prod\n"


def manifest(text: str = ACCOUNT) -> dict[str, Any]:
    return dict(parse_documents(text)[0])


def said(text: str) -> str:
    return ACCOUNT.replace("spec: {", f"spec: {{{text}, ")


@pytest.fixture
def applied(fake: FakeIssuer, run: Run) -> FakeIssuer:
    """The account as `issuer apply` made it, and no request remembered."""
    assert run("apply", "-f", "-", stdin=ACCOUNT).exit_code == 0
    fake.requests.clear()
    return fake


def live(fake: FakeIssuer) -> dict[str, Any]:
    return fake.objects[PATH]


def change(fake: FakeIssuer, **spec: Any) -> None:
    """Somebody else writes into the account's spec."""
    fake.put(PATH, {**live(fake), "spec": {**live(fake)["spec"], **spec}})


def test_creation_carries_the_record_from_the_start(applied: FakeIssuer) -> None:
    assert live(applied)["metadata"]["annotations"] == {ANNOTATION: record_of(manifest())}


def test_nothing_is_sent_when_nothing_would_change(applied: FakeIssuer, run: Run) -> None:
    change(applied, disabled=False, displayName="Payments")
    assert run("apply", "-f", "-", stdin=ACCOUNT).stdout == UNCHANGED
    assert applied.writes() == []


def test_one_conditional_merge_patch_with_what_differs_and_the_record(applied: FakeIssuer, run: Run) -> None:
    revision = live(applied)["metadata"]["resourceVersion"]
    text = said("purpose: pay")
    assert run("apply", "-f", "-", stdin=text).stdout == CONFIGURED
    assert applied.writes() == [f"PATCH {PATH}"]
    assert applied.requests[-1].headers["content-type"] == "application/merge-patch+json"
    record = record_of(manifest(text))
    metadata = {"annotations": {ANNOTATION: record}, "resourceVersion": revision}
    assert applied.body("PATCH") == {"spec": {"purpose": "pay"}, "metadata": metadata}


def test_what_the_manifest_no_longer_says_goes_and_what_others_set_stays(applied: FakeIssuer, run: Run) -> None:
    run("apply", "-f", "-", stdin=said("purpose: pay, claims: {mine: x}"))
    change(applied, owner="ops", claims={"mine": "x", "theirs": "y"})
    assert run("apply", "-f", "-", stdin=ACCOUNT).stdout == CONFIGURED
    assert live(applied)["spec"] == {"scopes": ["a"], "owner": "ops", "claims": {"theirs": "y"}}


def test_what_the_manifest_says_is_enforced(applied: FakeIssuer, run: Run) -> None:
    change(applied, scopes=["a", "everything"])
    assert run("apply", "-f", "-", stdin=ACCOUNT).stdout == CONFIGURED
    assert live(applied)["spec"]["scopes"] == ["a"]


def test_an_object_nobody_applied_loses_nothing_and_gets_the_record(fake: FakeIssuer, run: Run) -> None:
    made = {**manifest(), "spec": {"scopes": ["a"], "owner": "ops"}}
    fake.put(PATH, made)
    assert run("apply", "-f", "-", stdin=ACCOUNT).stdout == UNCHANGED
    assert live(fake)["spec"] == made["spec"]
    assert live(fake)["metadata"]["annotations"] == {ANNOTATION: record_of(manifest())}


def test_a_record_that_cannot_be_read_removes_nothing_and_is_made_anew(applied: FakeIssuer, run: Run) -> None:
    metadata = {**live(applied)["metadata"], "annotations": {ANNOTATION: "{"}}
    applied.put(PATH, {**live(applied), "metadata": metadata, "spec": {"scopes": ["a"], "purpose": "pay"}})
    result = run("apply", "-f", "-", stdin=ACCOUNT)
    assert "what was last applied cannot be read" in result.stderr
    assert live(applied)["spec"]["purpose"] == "pay"
    assert live(applied)["metadata"]["annotations"] == {ANNOTATION: record_of(manifest())}


def test_a_record_another_tool_wrote_differently_is_left_alone_when_it_says_the_same(
    applied: FakeIssuer, run: Run
) -> None:
    metadata = {**live(applied)["metadata"], "annotations": {ANNOTATION: json.dumps(manifest(), indent=1)}}
    applied.put(PATH, {**live(applied), "metadata": metadata})
    assert run("apply", "-f", "-", stdin=ACCOUNT).stdout == UNCHANGED
    assert applied.writes() == []


@pytest.mark.parametrize("text", [ACCOUNT, said("disabled: false")], ids=["silent", "false"])
def test_a_re_apply_does_not_undo_a_responders_disabled(fake: FakeIssuer, run: Run, text: str) -> None:
    run("apply", "-f", "-", stdin=text)
    change(fake, disabled=True)
    for _ in range(2):
        result = run("apply", "-f", "-", stdin=text)
        assert result.stdout == UNCHANGED
        assert "serviceaccount/payment-service stays disabled in payments-prod" in result.stderr
        assert "issuer edit serviceaccount/payment-service -n payments-prod" in result.stderr
    assert live(fake)["spec"]["disabled"] is True


def test_other_changes_reach_an_account_that_stays_disabled(applied: FakeIssuer, run: Run) -> None:
    change(applied, disabled=True)
    result = run("apply", "-f", "-", stdin=said("purpose: pay"))
    assert result.stdout == CONFIGURED
    assert "stays disabled" in result.stderr
    assert live(applied)["spec"] == {"scopes": ["a"], "purpose": "pay", "disabled": True}


def test_a_manifest_that_says_something_new_about_disabled_is_obeyed(applied: FakeIssuer, run: Run) -> None:
    for text, expected in ((said("disabled: true"), True), (said("disabled: false"), False)):
        assert run("apply", "-f", "-", stdin=text).stderr == ""
        assert live(applied)["spec"]["disabled"] is expected


def test_a_write_in_between_is_taken_into_account(applied: FakeIssuer, run: Run) -> None:
    """The responder disables the account between the look at it and the patch."""

    def disable_first(request: httpx.Request) -> httpx.Response:
        del applied.overrides["PATCH", "/payment-service"]
        change(applied, disabled=True)
        return applied.resource(request)

    applied.overrides["PATCH", "/payment-service"] = disable_first
    result = run("apply", "-f", "-", stdin=said("purpose: pay"))
    assert result.exit_code == 0
    assert "stays disabled" in result.stderr
    assert applied.writes() == [f"PATCH {PATH}"] * 2
    assert live(applied)["spec"] == {"scopes": ["a"], "purpose": "pay", "disabled": True}


def test_a_conflict_with_a_rule_is_reported_and_not_tried_again(applied: FakeIssuer, run: Run) -> None:
    applied.overrides["PATCH", "/payment-service"] = lambda _: failure(409, "Conflict", "managed by eu1/a/b")
    result = run("apply", "-f", "-", stdin=said("purpose: pay"))
    assert result.exit_code == 1
    assert "managed by eu1/a/b" in result.stderr
    assert applied.writes() == [f"PATCH {PATH}"]


def test_what_is_refused_for_its_own_sake_is_asked_once(applied: FakeIssuer, run: Run) -> None:
    applied.overrides["PATCH", "/payment-service"] = lambda _: failure(422, "Invalid", "no")
    assert run("apply", "-f", "-", stdin=said("purpose: pay")).exit_code == 1
    assert applied.seen == [f"GET {PATH}", f"PATCH {PATH}"]


def test_writers_without_end_are_given_up_on(applied: FakeIssuer, run: Run) -> None:
    def always_first(request: httpx.Request) -> httpx.Response:
        change(applied, owner=str(applied.revision))
        return applied.resource(request)

    applied.overrides["PATCH", "/payment-service"] = always_first
    result = run("apply", "-f", "-", stdin=said("purpose: pay"))
    assert result.exit_code == 1
    assert "the object has been modified" in result.stderr
    assert len(applied.writes()) == 5


def test_somebody_who_creates_it_first_is_merged_with(fake: FakeIssuer, run: Run) -> None:
    def already(request: httpx.Request) -> httpx.Response:
        fake.put(PATH, {**manifest(), "spec": {"scopes": ["b"], "owner": "ops"}})
        return fake.resource(request)

    fake.overrides["POST", "/serviceaccounts"] = already
    assert run("apply", "-f", "-", stdin=ACCOUNT).stdout == CONFIGURED
    assert live(fake)["spec"] == {"scopes": ["a"], "owner": "ops"}


def test_what_the_issuer_owns_is_never_sent(applied: FakeIssuer, run: Run) -> None:
    text = ACCOUNT.replace("metadata: {", "metadata: {uid: u, resourceVersion: '7', ") + "status: {ready: true}\n"
    assert run("apply", "-f", "-", stdin=text).stdout == UNCHANGED
    assert applied.writes() == []


def test_namespaces_made_on_the_way_carry_no_record(fake: FakeIssuer, run: Run) -> None:
    run("apply", "--create-namespaces", "-f", "-", stdin=ACCOUNT.replace("payments-prod", "new"))
    assert "annotations" not in fake.objects["/api/v1/namespaces/new"]["metadata"]


def test_a_dry_run_patches_the_same_with_nothing_written(applied: FakeIssuer, run: Run) -> None:
    before = dict(live(applied))
    result = run("apply", "--dry-run", "-f", "-", stdin=said("purpose: pay"))
    assert result.stdout == "serviceaccount/payment-service would be configured in payments-prod\n"
    assert applied.requests[-1].url.params["dryRun"] == "All"
    assert live(applied) == before


def test_a_dry_run_takes_as_written_what_stands_in_a_namespace_that_is_still_to_be_made(run: Run) -> None:
    text = ACCOUNT.replace("payments-prod", "new")
    result = run("apply", "--dry-run", "--create-namespaces", "-f", "-", stdin=text)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "namespace/new would be created",
        "serviceaccount/payment-service would be created in new",
    ]
    assert "is not checked by the issuer, because its namespace does not exist yet" in result.stderr
    assert run("apply", "--dry-run", "-f", "-", stdin=text).exit_code == 1


def test_annotations_that_are_no_object_are_left_to_the_issuer_to_refuse(fake: FakeIssuer, run: Run) -> None:
    Path("a.yaml").write_text(ACCOUNT.replace("metadata: {", "metadata: {annotations: [x], "))
    run("apply", "-f", "a.yaml")
    assert fake.body("POST")["metadata"]["annotations"] == ["x"]
