"""Bounds of what can be sent and stored: each refused by its own sentence, at its own size, and never with a 500."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from issuer.cli import app
from issuer.events import RequestFailed
from issuer.manifests import MAX_DEPTH, MAX_YAML_BYTES
from issuer.model.kinds import MAX_OBJECT_BYTES
from issuer.model.metadata import MAX_ANNOTATIONS_BYTES
from tests.administration.paths import ACCOUNT, MERGE, account, account_path, status_of
from tests.store.rows import count_rows
from tests.world import SCOPES, World

POLICIES = "/apis/auth.nauthera.io/v1alpha1/clusterauthpolicies"
YAML = {"content-type": "application/yaml"}


def patterns(bytes_of_json: int) -> list[str]:
    """Distinct patterns that take this much room."""
    return [f"{number:06}{'x' * 490}" for number in range(bytes_of_json // 500)]


def policy(**scopes: list[str]) -> dict[str, Any]:
    return {"metadata": {"name": "large"}, "spec": {"scopes": scopes}}


async def test_an_object_that_is_too_large_is_not_stored(world: World) -> None:
    half = MAX_OBJECT_BYTES // 2
    assert (await world.admin.post(POLICIES, json=policy(allowed=patterns(half)))).status_code == 201
    before = await count_rows(world.database_url)
    for answer in (
        await world.admin.post(POLICIES, json=policy(allowed=patterns(half), denied=patterns(half + 4000))),
        await world.admin.put(f"{POLICIES}/large", json=policy(allowed=patterns(half), denied=patterns(half + 4000))),
    ):
        assert status_of(answer) == (413, "RequestEntityTooLarge")
        assert f"at most {MAX_OBJECT_BYTES} are stored" in answer.json()["message"]
    assert await count_rows(world.database_url) == before


async def test_an_object_cannot_be_grown_beyond_its_bound_patch_by_patch(world: World) -> None:
    half = MAX_OBJECT_BYTES // 2
    await world.admin.post(POLICIES, json=policy(allowed=patterns(half)))
    patch = {"spec": {"scopes": {"denied": patterns(half + 4000)}}}
    answer = await world.admin.patch(f"{POLICIES}/large", content=json.dumps(patch), headers=MERGE)
    assert status_of(answer) == (413, "RequestEntityTooLarge")


async def test_whatever_is_stored_can_be_sent_back(world: World) -> None:
    half = MAX_OBJECT_BYTES // 2
    stored = await world.admin.post(POLICIES, json=policy(allowed=patterns(half), denied=patterns(half - 4000)))
    assert stored.status_code == 201
    assert (await world.admin.put(f"{POLICIES}/large", content=stored.content)).status_code == 200


async def test_annotations_are_bounded_in_all(world: World) -> None:
    await world.namespace("payments")
    room = MAX_ANNOTATIONS_BYTES - len("a") - len("b")
    most, more = [
        await world.admin.post(ACCOUNT, json=account("api", annotations={"a": "x" * size, "b": "y"}))
        for size in (room - 1, room)
    ]
    assert most.status_code == 201
    assert status_of(more) == (422, "Invalid")
    assert "256 KiB" in more.json()["details"]["causes"][0]["message"]


NESTED = "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)


async def test_what_is_nested_too_deeply_is_refused_in_either_writing_with_the_bound(world: World) -> None:
    for headers in ({}, YAML):
        for body in (NESTED, "[" * 5000 + "]" * 5000):
            answer = await world.admin.post(SCOPES, content=body, headers=headers)
            assert status_of(answer) == (400, "BadRequest")
            assert f"nested more than {MAX_DEPTH} levels deep" in answer.json()["message"]
    assert world.seen(RequestFailed) == []


def test_a_manifest_on_disk_has_the_same_depth(tmp_path: Path) -> None:
    for name in ("deep.yaml", "deep.json"):
        (tmp_path / name).write_text(NESTED)
        result = CliRunner().invoke(app, ["apply", "-f", str(tmp_path / name)])
        assert result.exit_code != 0
        assert f"nested more than {MAX_DEPTH} levels deep" in result.stderr


async def test_yaml_is_bounded_more_narrowly_and_says_what_to_do(world: World) -> None:
    answer = await world.admin.post(SCOPES, content="#" * (MAX_YAML_BYTES + 1), headers=YAML)
    assert status_of(answer) == (413, "RequestEntityTooLarge")
    assert "send it as JSON" in answer.json()["message"]


REFUSED: dict[str, tuple[str, str]] = {
    "a key twice": ('{"metadata": {"name": "x", "name": "y"}}', "the key 'name' stands twice"),
    "a number no float can hold": ('{"metadata": {"name": "x", "generation": 1e999}}', "too large"),
    "not a number": ('{"metadata": {"name": "x", "generation": NaN}}', "NaN is not JSON"),
    "a lone surrogate": ('{"metadata": {"name": "x", "annotations": {"a": "\\ud800"}}}', "lone surrogates"),
    "a NUL": ('{"metadata": {"name": "x", "annotations": {"a": "\\u0000"}}}', "NUL"),
}


@pytest.mark.parametrize(("body", "said"), REFUSED.values(), ids=list(REFUSED))
async def test_json_that_could_not_be_stored_is_refused_with_its_reason(world: World, body: str, said: str) -> None:
    answer = await world.admin.post(SCOPES, content=body)
    assert status_of(answer) == (400, "BadRequest")
    assert said in answer.json()["message"]


async def test_yaml_with_an_alias_is_refused_before_it_grows(world: World) -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))]
    answer = await world.admin.post(SCOPES, content="\n".join(lines), headers=YAML)
    assert status_of(answer) == (400, "BadRequest")
    assert "aliases" in answer.json()["message"]


async def test_no_text_a_client_can_put_into_a_path_or_query_is_a_500(world: World) -> None:
    await world.account()
    for text in ("%00", "%ff", "%ed%a0%80", "%0a", "x" * 5000):
        for path in (account_path(text), f"{ACCOUNT}?fieldManager={text}", f"{ACCOUNT}?continue={text}"):
            assert (await world.admin.get(path)).status_code in {200, 400, 404}, path[:200]
        assert (await world.admin.delete(f"{account_path('api')}?managedBy={text}&dryRun=All")).status_code == 200
    assert world.seen(RequestFailed) == []
