"""The client commands against a running server: what they do, and what they say when they cannot."""

import json
import re
import shlex
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from issuer.cli import applying, credentials, describing, diffing, editing, resources, tokens, waiting
from tests.blackbox.conftest import Cli
from tests.blackbox.processes import CLEAN, ISSUER, Started, eventually, run

ACCOUNT = """
apiVersion: auth.nauthera.io/v1alpha1
kind: ServiceAccount
metadata: {name: %s, namespace: %s}
spec: {scopes: ["api:read"], tokenSettings: {accessTokenTTL: 5m}}
"""


def account(name: str = "api", namespace: str = "cli") -> str:
    return ACCOUNT % (name, namespace)


@pytest.fixture(autouse=True)
def namespace(cli: Cli) -> None:
    cli("apply", "-f", "-", stdin="{apiVersion: v1, kind: Namespace, metadata: {name: cli}}")


# --- apply, get, delete ----------------------------------------------------------------------------------------------


def test_a_missing_namespace_hints_at_the_option_that_makes_it(cli: Cli) -> None:
    refused = cli("apply", "-f", "-", stdin=account(namespace="not-there"))
    assert refused.exit_code == 1
    assert "add --create-namespaces" in refused.stderr
    made = cli("apply", "--create-namespaces", "-f", "-", stdin=account(namespace="new-here"))
    assert made.stdout.splitlines() == ["namespace/new-here created", "serviceaccount/api created in new-here"]
    assert cli("delete", "namespace", "new-here").exit_code == 0


def test_a_folder_and_documents_in_one_file_are_all_applied_and_all_deleted(cli: Cli) -> None:
    Path("folder/deeper").mkdir(parents=True)
    Path("folder/two.yaml").write_text(account("one") + "---" + account("two"))
    Path("folder/deeper/three.json").write_text(
        json.dumps(
            {
                "apiVersion": "auth.nauthera.io/v1alpha1",
                "kind": "ServiceAccount",
                "metadata": {"name": "three", "namespace": "cli"},
                "spec": {"scopes": ["api:read"]},
            }
        )
    )
    assert [line.split()[1] for line in cli("apply", "-R", "-f", "folder").stdout.splitlines()] == ["created"] * 3
    assert [line.split()[1] for line in cli("apply", "-R", "-f", "folder").stdout.splitlines()] == ["unchanged"] * 3
    assert [line.split()[1] for line in cli("delete", "-R", "-f", "folder").stdout.splitlines()] == ["deleted"] * 3


def test_what_get_writes_can_be_applied_again_and_changes_nothing(cli: Cli) -> None:
    cli("apply", "-f", "-", stdin=account() + "---" + account("other"))
    for words in (("sa/api",), ("sa",)):
        for style in ("yaml", "json"):
            written = cli("get", *words, "-n", "cli", "-o", style)
            again = cli("apply", "-f", "-", stdin=written.stdout)
            assert again.exit_code == 0, again.output
            assert {line.split()[1] for line in again.stdout.splitlines()} == {"unchanged"}


def test_a_change_is_called_a_change(cli: Cli) -> None:
    cli("apply", "-f", "-", stdin=account("changing"))
    changed = cli("apply", "-f", "-", stdin=account("changing").replace("5m", "6m"))
    assert changed.stdout == "serviceaccount/changing configured in cli\n"


def test_every_invalid_field_is_named_at_once(cli: Cli) -> None:
    wrong = (
        account("wrong").replace("5m", "5 parsecs").replace("spec: {", "spec: {nonsense: 1, credentialRotation: [], ")
    )
    refused = cli("apply", "-f", "-", stdin=wrong)
    assert refused.exit_code == 1
    for field in ("spec.tokenSettings.accessTokenTTL", "spec.nonsense", "spec.credentialRotation"):
        assert f"  {field}: " in refused.stderr
    assert refused.stderr.startswith("error: serviceaccount/wrong in cli: ")


def test_a_table_of_all_namespaces_shows_the_administrator(cli: Cli) -> None:
    lines = cli("get", "serviceaccounts", "-A").stdout.splitlines()
    assert lines[0].split()[:2] == ["NAMESPACE", "NAME"]
    assert ["issuer-system", "admin"] in [line.split()[:2] for line in lines]


@pytest.mark.parametrize("words", [("get", "sa"), ("get", "sa/x"), ("delete", "sa/x")])
def test_without_a_namespace_it_is_default_and_says_so_when_there_is_none(cli: Cli, words: tuple[str, ...]) -> None:
    refused = cli(*words)
    assert refused.exit_code == 1
    assert "hint: without -n the namespace is default; `issuer get namespaces` shows which there are" in refused.stderr


@pytest.mark.parametrize("plural", ["namespaces", "scopes", "keysets", "sa"])
def test_every_kind_has_a_table(cli: Cli, plural: str) -> None:
    assert cli("get", plural, "-n", "cli").exit_code == 0


# --- rotate and token ------------------------------------------------------------------------------------------------


def test_rotate_hands_out_a_credential_that_token_uses(cli: Cli) -> None:
    cli("apply", "-f", "-", stdin=account("rotating"))
    assert cli("rotate", "cli/rotating", "--out", "it.env").exit_code == 0
    assert Path("it.env").stat().st_mode & 0o777 == 0o600
    shown = cli("token", "--credentials", "it.env", "--scope", "api:read")
    assert shown.exit_code == 0, shown.output
    assert "verified with kid" in shown.stdout
    assert "granted scope  api:read" in shown.stdout
    assert cli("token", "--credentials", "it.env", "--raw").stdout.count(".") == 2
    assert json.loads(cli("token", "--credentials", "it.env", "-o", "json").stdout)["expires_in"] == 300


def test_after_a_rotation_both_secrets_work_unless_the_old_one_was_compromised(cli: Cli) -> None:
    cli("apply", "-f", "-", stdin=account("compromised"))

    def accepted() -> list[str]:
        return [
            file.name for file in sorted(Path().glob("?.env")) if not cli("token", "--credentials", file.name).exit_code
        ]

    cli("rotate", "cli/compromised", "--out", "1.env")
    cli("rotate", "cli/compromised", "--out", "2.env")
    assert accepted() == ["1.env", "2.env"]
    cli("rotate", "cli/compromised", "--out", "3.env", "--compromised")
    # In force within a second: another process issues the tokens.
    eventually(lambda: accepted() == ["3.env"])


def test_a_refused_token_says_why_and_what_to_do(cli: Cli) -> None:
    cli("apply", "-f", "-", stdin=account("refused"))
    cli("rotate", "cli/refused", "--out", "it.env")
    for words, error in ((("--scope", "api:write"), "invalid_scope"), (("--resource", "urn:x"), "invalid_target")):
        refused = cli("token", "--credentials", "it.env", *words)
        assert refused.exit_code == 1
        assert error in refused.stderr
        assert "hint: " in refused.stderr


# --- no way in -------------------------------------------------------------------------------------------------------


def test_a_wrong_credential_is_said_to_be_one(cli: Cli) -> None:
    refused = cli("get", "namespaces", ISSUER_ADMIN_CLIENT_SECRET="isk1_wrong")
    assert refused.exit_code == 1
    assert "invalid_client" in refused.stderr
    assert "isk1_wrong" not in refused.output


def test_a_token_of_another_kind_of_account_is_no_way_in(cli: Cli) -> None:
    cli("apply", "-f", "-", stdin=account("stranger"))
    cli("rotate", "cli/stranger", "--out", "it.env")
    token = cli("token", "--credentials", "it.env", "--raw").stdout.strip()
    refused = cli("get", "namespaces", ISSUER_ADMIN_TOKEN=token)
    assert refused.exit_code == 1
    assert token not in refused.output


def test_an_issuer_that_is_not_running_is_said_so(cli: Cli) -> None:
    refused = cli("get", "namespaces", "--token-endpoint", "http://127.0.0.1:9/oauth2/token")
    assert refused.exit_code == 1
    assert "nothing answers at http://127.0.0.1:9" in refused.stderr


def test_the_public_port_is_not_taken_for_the_admin_port(cli: Cli, server: Started) -> None:
    refused = cli("get", "namespaces", "--admin-url", server.public)
    assert refused.exit_code == 1
    assert "is this the admin port" in refused.stderr


# --- the program itself ----------------------------------------------------------------------------------------------


def test_python_m_issuer_explains_itself_anywhere(tmp_path: Path) -> None:
    explained = run("--help", cwd=tmp_path)
    assert explained.exit_code == 0
    for command in ("dev", "serve", "migrate", "bootstrap", "apply", "get", "watch", "delete", "rotate", "token"):
        assert command in explained.stdout


def test_it_says_its_version_and_nothing_else(tmp_path: Path) -> None:
    said = run("--version", cwd=tmp_path)
    assert (said.exit_code, said.stdout, said.stderr) == (0, f"issuer {version('issuer')}\n", "")


def test_a_reader_that_has_seen_enough_is_no_error(server: Started) -> None:
    del server
    line = " ".join((*ISSUER, "get", "--help", "| head -1; exit ${PIPESTATUS[0]}"))
    done = subprocess.run(("bash", "-c", line), env=CLEAN, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


def test_every_example_of_the_help_texts_works_as_it_stands(cli: Cli) -> None:
    """In the order a new user would try them, in a folder with the reference page's first manifest."""
    Path("manifests").mkdir()
    seed = Path(__file__).parents[1] / "seeds" / "payment-service.yaml"
    Path("manifests/payment-service.yaml").write_bytes(seed.read_bytes())
    for command in (
        applying.apply,
        diffing.diff,
        resources.get,
        credentials.rotate,
        waiting.wait,
        describing.describe,
        editing.edit,
        tokens.token,
        resources.delete,
    ):
        examples = re.findall(r"Example: issuer (.+)", command.__doc__ or "")
        assert examples
        for example in examples:
            if command is tokens.token:  # as with dev.env of `issuer dev`, which names a demo account
                values = dict(line.split("=", 1) for line in Path("payment.env").read_text().splitlines())
                environment = {f"ISSUER_{name}": value for name, value in values.items()}
                done = cli(*shlex.split(example), **environment)
            else:
                done = cli(*shlex.split(example), VISUAL="true")
            assert done.exit_code == 0, f"issuer {example}: {done.output}"
