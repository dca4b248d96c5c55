"""Bodies of the admin port: JSON and YAML both ways, bounded, and never a 500 for what a client can send."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import yaml

from issuer.events import RequestFailed
from issuer.manifests import MAX_BODY_BYTES
from tests.administration.paths import ACCOUNT, MERGE, account, account_path, status_of
from tests.store.rows import count_rows
from tests.world import NAMESPACES, SCOPES, World

YAML = {"content-type": "application/yaml"}
SEED = """
# as people write it
apiVersion: auth.nauthera.io/v1alpha1
kind: ServiceAccount
metadata:
  name: api
  annotations: {note: "line\\nbreak", answer: "yes"}
spec:
  displayName: "Zahlungen ü 😀"
  scopes: ["api:payments"]
  expiresAt: 2027-01-31T12:00:00Z
  claims:
    "https://myapp.example.com/tier": critical
"""


async def test_yaml_is_read_and_answered_like_json(world: World) -> None:
    await world.namespace("payments")
    for media_type in ("application/x-yaml", "text/yaml; charset=utf-8"):
        dry = await world.admin.post(f"{ACCOUNT}?dryRun=All", content=SEED, headers={"content-type": media_type})
        assert dry.status_code == 201, dry.text
    headers = {"content-type": "application/yaml", "accept": "application/yaml"}
    created = await world.admin.post(ACCOUNT, content=SEED, headers=headers)
    assert created.status_code == 201, created.text
    assert created.headers["content-type"].startswith("application/yaml")
    read = (await world.admin.get(account_path("api"))).json()
    assert yaml.safe_load(created.text)["spec"] == read["spec"]
    assert read["spec"]["displayName"] == "Zahlungen ü 😀"
    assert read["spec"]["expiresAt"] == "2027-01-31T12:00:00Z"
    assert read["metadata"]["annotations"] == {"note": "line\nbreak", "answer": "yes"}


async def test_what_was_answered_can_be_written_back_in_either_writing(world: World) -> None:
    await world.account(claims={"a": "yes", "b": "2027-01-31", "c": "1e3", "d": "null", "e": ""})
    path = account_path("api")
    as_yaml = await world.admin.get(path, headers={"accept": "application/yaml"})
    before = await count_rows(world.database_url)
    assert (await world.admin.put(path, content=as_yaml.content, headers=YAML)).status_code == 200
    assert (await world.admin.put(path, content=(await world.admin.get(path)).content)).status_code == 200
    assert await count_rows(world.database_url) == before


async def test_a_refusal_is_yaml_too_for_who_reads_yaml(world: World) -> None:
    answer = await world.admin.get(f"{NAMESPACES}/nothing", headers={"accept": "application/yaml"})
    assert yaml.safe_load(answer.text)["reason"] == "NotFound"


async def test_no_answer_is_ever_cached(world: World) -> None:
    for answer in (
        await world.admin.get(NAMESPACES),
        await world.admin.get(f"{NAMESPACES}/nothing"),
        await world.anonymous.get(NAMESPACES),
    ):
        assert answer.headers["cache-control"] == "no-store"


def named(metadata: str) -> bytes:
    return b'{"metadata": {"name": "x", ' + metadata.encode() + b'}, "spec": {"scope": "x"}}'


DEEP = '"managedFields": ' + "[" * 950 + "]" * 950
JSON_BODIES: dict[str, bytes] = {
    "nothing": b"",
    "white space": b"  \n ",
    "not JSON": b"{",
    "a list": b"[]",
    "null": b"null",
    "a key twice": b'{"metadata": {"name": "x", "name": "y"}}',
    "NaN": named('"generation": NaN'),
    "infinity": named('"generation": 1e999'),
    "a number of 5000 digits": named(f'"generation": {"1" * 5000}'),
    "a NUL": named('"annotations": {"a": "\\u0000"}'),
    "a NUL in a key": named('"\\u0000": 1'),
    "a lone surrogate": named('"annotations": {"a": "\\ud800"}'),
    "not UTF-8": b'{"metadata": {"name": "\xff"}}',
    "UTF-16": '{"metadata": {}}'.encode("utf-16"),
    "too deep for the parser": b"[" * 100_000,
    "too deep for what comes after the parser": named(DEEP),
}
YAML_BODIES: dict[str, bytes] = {
    "a key twice": b"metadata: {name: x, name: y}",
    "an alias": b"metadata: &m {name: x}\nspec: *m",
    "two documents": b"metadata: {name: x}\n---\nmetadata: {name: y}",
    "only comments": b"# nothing",
    "a tag that does not fit": b"metadata: {name: !!bool maybe}",
    "a tag without a value": b'metadata: {name: !!int ""}',
    "a tag of Python": b"!!python/object/apply:os.system [id]",
    "a NUL": b"metadata: {name: x\0}",
    "an escaped lone surrogate": b'metadata: {name: "\\ud800"}',
    "not UTF-8": b"metadata: {name: \xff}",
    "too deep": b"[" * 10_000,
    "too deep for what comes after the parser": b"[" * 150 + b"]" * 150,
}


async def test_a_body_that_cannot_be_read_is_400_and_never_500(world: World) -> None:
    bodies: list[tuple[str, bytes, dict[str, str]]] = [(rule, body, {}) for rule, body in JSON_BODIES.items()]
    bodies += [(rule, body, YAML) for rule, body in YAML_BODIES.items()]
    for rule, body, headers in bodies:
        for method, path in (("POST", SCOPES),) if headers else (("POST", SCOPES), ("PUT", f"{SCOPES}/x")):
            answer = await world.admin.request(method, path, content=body, headers=headers)
            assert status_of(answer) == (400, "BadRequest"), (rule, answer.text)
            assert "\n" not in answer.json()["message"]
    assert world.seen(RequestFailed) == []


async def test_neither_does_an_unreadable_patch_or_status(world: World) -> None:
    await world.account()
    for rule, body in JSON_BODIES.items():
        for method, path in (("PATCH", account_path("api")), ("PATCH", f"{account_path('api')}/status")):
            answer = await world.admin.request(method, path, content=body, headers=MERGE)
            assert status_of(answer) == (400, "BadRequest"), (rule, answer.text)
    assert world.seen(RequestFailed) == []


async def test_a_field_of_the_wrong_type_is_422_whatever_stands_there(world: World) -> None:
    await world.namespace("payments")
    values: list[Any] = [None, True, 0, -1.5, 10**30, "", "x", [], [[]], {}, {"a": {}}, ["x"] * 3]
    fields = ["displayName", "scopes", "claims", "expiresAt", "tokenSettings", "credentialRotation", "authentication"]
    fields += ["managedBy", "audiences", "defaultScopes", "credentialsSecretName", "configMapName", "type", "disabled"]
    for field in fields:
        for value in values:
            answer = await world.admin.post(f"{ACCOUNT}?dryRun=All", json=account("x", **{field: value}))
            assert answer.status_code in {201, 422}, (field, value, answer.text)
    for field in ("labels", "annotations", "ownerReferences", "finalizers", "namespace", "uid", "generation"):
        for value in values:
            document = {"metadata": {"name": "x", field: value}, "spec": {"scopes": ["a"]}}
            answer = await world.admin.post(f"{ACCOUNT}?dryRun=All", json=document)
            assert answer.status_code in {201, 422}, (field, value, answer.text)
    assert world.seen(RequestFailed) == []


async def test_a_body_is_bounded_while_it_is_read(world: World) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 10 * MAX_BODY_BYTES:
            sent += 65_536
            yield b" " * 65_536

    app = world.issuer.admin
    answers: list[Any] = []
    body = endless()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": await anext(body), "more_body": True}

    async def send(message: Any) -> None:
        answers.append(message)

    headers = [(b"authorization", world.admin.headers["authorization"].encode())]
    scope = {"type": "http", "method": "POST", "path": SCOPES, "query_string": b"", "headers": headers}
    await app(scope, receive, send)
    assert answers[0]["status"] == 413
    assert json.loads(answers[1]["body"])["reason"] == "RequestEntityTooLarge"
    assert sent <= MAX_BODY_BYTES + 2 * 65_536


async def test_the_largest_body_is_read(world: World) -> None:
    document = json.dumps({"metadata": {"name": "x"}, "spec": {"scope": "x"}}).encode()
    full = document + b" " * (MAX_BODY_BYTES - len(document))
    assert (await world.admin.post(SCOPES, content=full)).status_code == 201
    assert status_of(await world.admin.post(SCOPES, content=full + b" ")) == (413, "RequestEntityTooLarge")


async def test_another_content_type_is_415_and_says_what_to_send(world: World) -> None:
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x"):
        answer = await world.admin.post(SCOPES, content=b"{}", headers={"content-type": media_type})
        assert status_of(answer) == (415, "UnsupportedMediaType"), media_type
        assert "application/json" in answer.json()["message"]


async def test_a_path_that_does_not_exist_is_a_status_object(world: World) -> None:
    for path in ("/", "/apis/other.example.com", "/apis/auth.nauthera.io/v1", f"{SCOPES}/a/b", "/oauth2/token"):
        assert status_of(await world.admin.get(path)) == (404, "NotFound")


async def test_a_version_there_is_none_of_is_404_whatever_its_length(world: World) -> None:
    client = await world.account()
    for version in ("0", "7", "-1", "x", "1e3", "9" * 10, "9" * 5000, "\u0661"):
        answer = await world.admin.post(f"{client.path}/credentials/{version}/acknowledge")
        assert status_of(answer) == (404, "NotFound"), version[:20]


async def test_an_error_of_ours_is_500_without_its_text_and_an_event_with_its_place(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("canary-secret")

    monkeypatch.setattr(world.issuer.reader, "get", fail)
    answer: httpx.Response = await world.admin.get(f"{NAMESPACES}/x")
    assert status_of(answer) == (500, "InternalError")
    (event,) = world.seen(RequestFailed)
    assert (event.path, event.error) == (f"{NAMESPACES}/{{name}}", "RuntimeError")
    assert event.where.startswith("web/resources.py:")
    assert "canary" not in answer.text + str(world.events)


async def test_a_head_is_answered_like_a_get(world: World) -> None:
    assert (await world.admin.head(NAMESPACES)).status_code == 200
    assert (await world.admin.head(f"{NAMESPACES}/nothing")).status_code == 404
