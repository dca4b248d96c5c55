"""`labelSelector` and `fieldSelector`: Kubernetes' grammar, the same answer from PostgreSQL and from the watcher's filter."""

from typing import Any

import pytest

from issuer.model.faults import Fault
from issuer.model.filters import MAX_REQUIREMENTS, parse_filter, parse_label_selector
from issuer.model.kinds import SCOPE, SERVICE_ACCOUNT
from tests.administration.paths import ACCOUNT, MERGE, account, account_path, status_of
from tests.administration.test_lists import EVERYWHERE
from tests.world import SCOPES, World

LABELS: dict[str, dict[str, str]] = {
    "a": {"tier": "critical", "env": "prod", "example.com/team": "pay"},
    "b": {"tier": "critical", "env": "dev"},
    "c": {"tier": "", "legacy": "yes"},
    "d": {},
}
SELECTED = {
    "tier=critical": "ab",
    "tier==critical": "ab",
    " tier = critical ": "ab",
    "tier=critical,env=prod": "a",
    "tier!=critical": "cd",
    "tier=": "c",
    "tier": "abc",
    "!tier": "d",
    "! tier": "d",
    "env in (prod,dev)": "ab",
    "env in ( prod )": "a",
    "env notin (prod)": "bcd",
    "env notin (prod, dev)": "cd",
    "tier in (,critical)": "abc",
    "example.com/team=pay": "a",
    "tier,!legacy": "ab",
    "env in (dev),tier notin (x),!legacy": "b",
    "tier=critical,tier=other": "",
    "in in (in)": "",
    "": "abcd",
    " ": "abcd",
}
UNREADABLE = (
    ",", "a=b,", ",a=b", "a=b,,c", "a b", "a in", "a in b", "a in (b", "a in b)", "a in (b))", "(a)", "!a=b", "!", "a===b",
    "a>1", "a=b=c", "a/b/c", "-a", "a=-", "a=b c", "a=\u00e9", "a in (b;c)", f"{'x' * 64}=y", f"x={'y' * 64}", "a=b\x00",
)  # fmt: skip


@pytest.fixture
async def labelled(world: World) -> World:
    """Accounts with LABELS in `payments`, and one more in `other`."""
    await world.namespace("payments")
    for name, labels in LABELS.items():
        answer = await world.admin.post(ACCOUNT, json=account(name, labels=labels))
        assert answer.status_code == 201, answer.text
    return world


async def names(world: World, path: str, **query: Any) -> str:
    answer = await world.admin.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return "".join(each["metadata"]["name"] for each in answer.json()["items"])


async def test_a_label_selector_selects_as_in_kubernetes(labelled: World) -> None:
    found = {selector: await names(labelled, ACCOUNT, labelSelector=selector) for selector in SELECTED}
    assert found == SELECTED


@pytest.mark.parametrize("selector", SELECTED, ids=repr)
def test_a_watcher_s_filter_selects_what_the_database_selects(selector: str) -> None:
    wanted = parse_filter(SERVICE_ACCOUNT, "payments", "", selector)
    documents = {
        name: {"kind": "ServiceAccount", "metadata": {"namespace": "payments", "name": name, "labels": labels}}
        for name, labels in LABELS.items()
    }
    assert "".join(name for name, each in documents.items() if wanted.matches(each)) == SELECTED[selector]


async def test_objects_changed_since_are_selected_by_the_labels_they_had(labelled: World) -> None:
    version = (await labelled.admin.get(ACCOUNT)).json()["metadata"]["resourceVersion"]
    for name, labels in LABELS.items():
        other = dict.fromkeys(labels) | {"tier": "new"}
        await labelled.admin.patch(account_path(name), json={"metadata": {"labels": other}}, headers=MERGE)
    exact = {"resourceVersion": version, "resourceVersionMatch": "Exact"}
    found = {each: await names(labelled, ACCOUNT, labelSelector=each, **exact) for each in SELECTED}
    assert found == SELECTED
    assert await names(labelled, ACCOUNT, labelSelector="tier=new") == "abcd"


@pytest.mark.parametrize("selector", UNREADABLE, ids=repr)
def test_a_label_selector_that_cannot_be_read_is_refused_and_never_ignored(selector: str) -> None:
    with pytest.raises(Fault, match="labelSelector"):
        parse_label_selector(selector)


def test_the_number_of_requirements_is_bounded() -> None:
    most = ",".join(f"a{number}=b" for number in range(MAX_REQUIREMENTS))
    assert len(parse_label_selector(most).requirements) == MAX_REQUIREMENTS
    with pytest.raises(Fault, match="limited"):
        parse_label_selector(f"{most},one=more")


async def test_a_field_selector_knows_name_and_namespace(labelled: World) -> None:
    assert await names(labelled, ACCOUNT, fieldSelector="metadata.name=b") == "b"
    assert await names(labelled, EVERYWHERE, fieldSelector="metadata.namespace==payments, metadata.name=c") == "c"
    assert await names(labelled, ACCOUNT, fieldSelector="metadata.namespace=payments", labelSelector="env") == "ab"
    assert await names(labelled, ACCOUNT, fieldSelector="metadata.namespace=other") == ""
    assert await names(labelled, SCOPES, fieldSelector="metadata.namespace=payments") == ""
    assert await names(labelled, ACCOUNT, fieldSelector="") == "abcd"


async def test_a_field_selector_of_anything_else_is_400(labelled: World) -> None:
    for query in (
        "spec.disabled=true", "metadata.name", "metadata.name!=b", "metadata.name=a,metadata.name=b", "metadata.name=a,",
        "status.phase=Active", "x", ",",
    ):  # fmt: skip
        answer = await labelled.admin.get(ACCOUNT, params={"fieldSelector": query})
        assert status_of(answer) == (400, "BadRequest"), query


def test_a_cluster_scoped_kind_has_no_namespace_to_select() -> None:
    assert parse_filter(SCOPE, None, "metadata.namespace=x", "").nothing
