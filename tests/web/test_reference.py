"""The reference page: whole, true, and the same wherever it is read."""

import re
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from pydantic import BaseModel
from typer.testing import CliRunner

from issuer.cli import app
from issuer.manifests import parse_documents
from issuer.model.examples import EXAMPLES
from issuer.model.faults import Reason
from issuer.model.kinds import BY_KIND, KINDS, NAMESPACE, Kind
from issuer.model.status import CONDITIONS
from issuer.reference.errors import CAUSES, MEANINGS
from issuer.reference.fields import field_rows
from issuer.reference.page import reference_page
from issuer.reference.schemas import component_schemas
from tests.administration.paths import account_path
from tests.web.validation import errors_against
from tests.world import World

ISSUER = Path(__file__).parents[2] / "issuer"
HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def collection(kind: Kind, namespace: str) -> str:
    root = "/api/v1" if kind is NAMESPACE else f"/apis/{kind.api_version}"
    return f"{root}/namespaces/{namespace}/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"


def example(kind: Kind) -> dict[str, Any]:
    (document,) = parse_documents(EXAMPLES[kind.kind])
    return dict(document)


def test_there_is_an_example_of_every_kind() -> None:
    assert EXAMPLES.keys() == {kind.kind for kind in KINDS}


async def test_every_example_is_accepted_as_it_stands_in_the_order_they_stand_in(world: World) -> None:
    for name, text in EXAMPLES.items():
        document = example(next(kind for kind in KINDS if kind.kind == name))
        kind = BY_KIND[document["apiVersion"], document["kind"]]
        path = collection(kind, document["metadata"].get("namespace", ""))
        if kind.writable:
            made = await world.admin.post(path, content=text, headers={"content-type": "application/yaml"})
            assert made.status_code == 201, (name, made.text)
        there = await world.admin.get(f"{path}/{document['metadata']['name']}")
        for field, value in document.get("spec", {}).items():
            assert there.json()["spec"][field] == value or isinstance(value, dict | list), (name, field)


async def test_what_the_examples_became_is_as_the_schemas_say(world: World) -> None:
    for text in EXAMPLES.values():
        (document,) = parse_documents(text)
        kind = BY_KIND[document["apiVersion"], document["kind"]]
        path = collection(kind, document["metadata"].get("namespace", ""))
        if kind.writable:
            dry = await world.admin.post(f"{path}?dryRun=All", json=document)
            made = await world.admin.post(path, json=document)
            assert errors_against(kind.kind, dry.json()) == []
            assert errors_against(kind.kind, made.json()) == []
        assert errors_against(kind.kind, (await world.admin.get(f"{path}/{document['metadata']['name']}")).json()) == []
        assert errors_against(f"{kind.kind}List", (await world.admin.get(path)).json()) == []


def test_every_field_of_every_kind_says_what_it_means() -> None:
    for kind in KINDS:
        for model in (kind.spec, kind.status):
            if model is not None:
                assert [row.path for row in field_rows(model.__name__) if not row.meaning] == [], kind.kind
    assert [row.path for row in field_rows("ObjectMeta") if not row.meaning] == []


def test_every_schema_says_what_it_is_and_so_does_every_field_of_it() -> None:
    for name, schema in component_schemas().items():
        assert schema.get("description"), name
        for field, part in schema.get("properties", {}).items():
            # A part that is a schema of its own is described there.
            assert part.get("description") or "$ref" in part or "$ref" in part.get("allOf", [{}])[0], f"{name}.{field}"


def test_the_page_has_every_field_of_every_kind() -> None:
    page = reference_page()
    for kind in KINDS:
        assert f"\n## {kind.kind}\n" in page
        for part, model in (("spec", kind.spec), ("status", kind.status)):
            if model is not None:
                fields = [f"`{part}.{name}`" for name in aliases(model)]
                assert [field for field in fields if f"- {field}: " not in page] == []


def aliases(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def test_the_page_says_what_every_reason_means() -> None:
    page = reference_page()
    assert MEANINGS.keys() == set(Reason)
    assert all(f"| {reason.code} | `{reason.value[0]}` | {MEANINGS[reason]} |" in page for reason in Reason)
    used = {
        found for path in ISSUER.rglob("*.py") for found in re.findall(r'"(FieldValue\w+)"', path.read_text("utf-8"))
    }
    assert CAUSES.keys() == used


async def test_the_page_knows_every_condition_and_reason_an_account_can_have(world: World) -> None:
    known = {row.type: row for row in CONDITIONS}
    client = await world.account()
    changes: list[dict[str, Any]] = [{}, {"disabled": True}, {"disabled": False, "expiresAt": "2001-01-01T00:00:00Z"}]
    for change in changes:
        headers = {"content-type": "application/merge-patch+json"}
        await world.admin.patch(client.path, json={"spec": change}, headers=headers)
        for condition in (await world.admin.get(account_path("api"))).json()["status"]["conditions"]:
            assert condition["reason"] in known[condition["type"]].reasons


async def test_it_is_markdown_for_programs_and_html_for_a_browser(world: World) -> None:
    text = await world.anonymous.get("/reference")
    assert text.headers["content-type"] == "text/markdown; charset=utf-8"
    assert text.text == reference_page()
    page = await world.anonymous.get("/reference", headers=HTML)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert '<h2 id="serviceaccount">ServiceAccount</h2>' in page.text
    assert page.headers["vary"] == text.headers["vary"] == "accept"


async def test_every_link_in_the_html_leads_to_a_heading(world: World) -> None:
    page = (await world.anonymous.get("/reference", headers=HTML)).text
    links = re.findall(r'href="#([^"]*)"', page)
    assert len(links) > len(KINDS)
    assert [link for link in links if f'id="{link}"' not in page] == []


async def test_the_page_runs_nothing_and_loads_nothing(world: World) -> None:
    page: httpx.Response = await world.anonymous.get("/reference", headers=HTML)
    assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert "<script" not in page.text
    assert "http-equiv" not in page.text


async def test_who_has_the_page_is_not_sent_it_again(world: World) -> None:
    for headers in ({}, HTML):
        first = await world.anonymous.get("/reference", headers=headers)
        again = await world.anonymous.get("/reference", headers={**headers, "if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_the_command_prints_the_same_page() -> None:
    assert CliRunner().invoke(app, ["reference"]).output == reference_page()


@pytest.mark.parametrize("word", ["sa", "ServiceAccount", "serviceaccounts"])
def test_the_command_prints_one_kind_by_any_of_its_names(word: str) -> None:
    page = CliRunner().invoke(app, ["reference", word]).output
    assert page.startswith("# ServiceAccount\n")
    assert "ClusterAuthPolicy spec" not in page
    assert "## Body of `/credentials`" in page


def test_the_command_says_which_kinds_there_are() -> None:
    result = CliRunner().invoke(app, ["reference", "pod"])
    assert result.exit_code == 2
    assert "there is no kind 'pod'" in result.stderr
    assert "clusterauthpolicy" in result.stderr


def test_on_a_terminal_the_page_is_set_for_people(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from issuer.cli.reference import reference  # noqa: PLC0415

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    reference("scope")
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert "• spec.scope: string, 1 to 256 characters, required." in shown
    assert "```" not in shown


def test_the_yaml_of_the_page_is_the_examples() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", reference_page(), re.DOTALL)
    assert sorted(blocks) == sorted(EXAMPLES.values())
    assert all(yaml.safe_load(block) for block in blocks)
