"""`issuer describe`, `get credentials`, `edit` and completion against a running server; the editor is a script."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from issuer.cli.lastapplied import ANNOTATION
from tests.blackbox.conftest import Cli
from tests.blackbox.processes import ISSUER, PATIENCE_S, ROOT

ACCOUNT = """
apiVersion: auth.nauthera.io/v1alpha1
kind: ServiceAccount
metadata: {name: %s, namespace: editing, labels: {team: payments}}
spec:
  scopes: ["api:read", "api:write"]
  tokenSettings: {accessTokenTTL: 5m}
"""
Editor = Callable[..., None]


@pytest.fixture
def account(cli: Cli, request: pytest.FixtureRequest) -> str:
    """An account of the test's own, applied from a file."""
    name = str(request.node.name).partition("[")[0].removeprefix("test_").replace("_", "-")[:60].strip("-")
    made = cli("apply", "--create-namespaces", "-f", "-", stdin=ACCOUNT % name)
    assert made.exit_code == 0, made.output
    return name


@pytest.fixture
def editor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Editor:
    """`editor(first, second)`: shell commands for "$1", one for each time the editor opens, which writes down what it saw."""

    def steps(*commands: str) -> None:
        folder = tmp_path / "editor"
        folder.mkdir()
        for number, command in enumerate(commands, 1):
            (folder / f"step-{number}").write_text(command)
        script = folder / "vi"
        script.write_text(
            f'#!/bin/sh\nn=$(ls {folder} | grep -c seen); n=$((n + 1)); cp "$1" {folder}/seen-$n\n. {folder}/step-$n\n'
        )
        script.chmod(0o755)
        monkeypatch.delenv("VISUAL", raising=False)
        monkeypatch.setenv("EDITOR", str(script))

    return steps


def seen(number: int) -> str:
    """What the editor showed the nth time."""
    return Path(f"editor/seen-{number}").read_text()


def times_opened() -> int:
    return len(list(Path("editor").glob("seen-*")))


def live(cli: Cli, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cli("get", f"sa/{name}", "-n", "editing", "-o", "json").stdout)
    return found


def kept(stderr: str) -> str:
    """The text in the file that the message names."""
    path = Path(stderr.rpartition("your text is kept in ")[2].strip())
    text = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    path.unlink()
    return text


# --- edit ------------------------------------------------------------------------------------------------------------


def test_what_is_saved_is_written(cli: Cli, account: str, editor: Editor) -> None:
    editor('sed -i s/5m/7m/ "$1"')
    done = cli("edit", "serviceaccount", account, "-n", "editing")
    assert (done.exit_code, done.stdout) == (0, f"serviceaccount/{account} edited in editing\n"), done.output
    assert live(cli, account)["spec"]["tokenSettings"] == {"accessTokenTTL": "7m"}


def test_the_editor_shows_what_people_write_and_no_more(cli: Cli, account: str, editor: Editor) -> None:
    editor("true")
    cli("edit", f"editing/{account}")
    text = seen(1)
    assert text.startswith("# Edit, save and leave the editor.")
    assert f"metadata:\n  name: {account}\n  namespace: editing\n  labels:\n    team: payments\nspec:\n" in text
    for noise in ("status", "uid", "resourceVersion", "generation", "creationTimestamp", ANNOTATION):
        assert f"{noise}:" not in text


def test_what_is_removed_is_gone_or_at_its_default(cli: Cli, account: str, editor: Editor) -> None:
    editor('sed -i -e /tokenSettings/d -e /accessTokenTTL/d -e /labels/d -e /team/d -e /displayName/d "$1"')
    assert cli("edit", "sa", f"editing/{account}").exit_code == 0
    now = live(cli, account)
    assert "tokenSettings" not in now["spec"]
    assert "labels" not in now["metadata"]
    assert now["spec"]["displayName"] == account


@pytest.mark.parametrize(
    "step",
    ["true", ': > "$1"', 'echo "# and a remark" >> "$1"', "sed -i '/^  disabled: false$/d' \"$1\""],
    ids=["unchanged", "emptied", "a comment", "a default"],
)
def test_nothing_new_is_no_change(cli: Cli, account: str, editor: Editor, step: str) -> None:
    before = live(cli, account)
    editor(step)
    done = cli("edit", "sa", f"editing/{account}")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "Edit cancelled, no changes made.\n"
    assert live(cli, account) == before


def test_what_is_refused_is_shown_again_with_the_reasons_until_it_is_mended(
    cli: Cli, account: str, editor: Editor
) -> None:
    editor(
        'sed -i "s/5m/5 parsecs/; s/^spec:/spec:\\n  nonsense: 1/" "$1"',
        'sed -i "/nonsense/d; s/5 parsecs/[7m/" "$1"',
        'sed -i "s/name: .*/name: other/; s/.7m/8m/" "$1"',
        f'sed -i "s/name: other/name: {account}/" "$1"',
    )
    done = cli("edit", "sa", f"editing/{account}")
    assert done.exit_code == 0, done.output
    assert live(cli, account)["spec"]["tokenSettings"] == {"accessTokenTTL": "8m"}
    invalid, unreadable, renamed = seen(2), seen(3), seen(4)
    assert "#   spec.nonsense: unknown field\n" in invalid
    assert "#   spec.tokenSettings.accessTokenTTL: " in invalid
    assert "  nonsense: 1\n" in invalid
    assert "#   line " in unreadable
    assert "nonsense" not in unreadable
    assert f"#   metadata.name: must stay {account}\n" in renamed
    assert renamed.count("# Refused:") == 1


def test_giving_up_keeps_the_text(cli: Cli, account: str, editor: Editor) -> None:
    before = live(cli, account)
    editor('sed -i s/5m/never/ "$1"', "true")
    done = cli("edit", "sa", f"editing/{account}")
    assert done.exit_code == 1
    assert "spec.tokenSettings.accessTokenTTL" in done.stderr
    assert "accessTokenTTL: never" in kept(done.stderr)
    assert times_opened() == 2
    assert live(cli, account) == before


def test_a_change_by_somebody_else_meanwhile_is_not_overwritten(cli: Cli, account: str, editor: Editor) -> None:
    Path("theirs.yaml").write_text((ACCOUNT % account).replace("5m", "6m"))
    editor(f'{" ".join(ISSUER)} apply -f theirs.yaml > /dev/null; sed -i s/5m/7m/ "$1"')
    done = cli("edit", "sa", f"editing/{account}", PYTHONPATH=str(ROOT))
    assert done.exit_code == 1
    assert "the object was changed meanwhile" in done.stderr
    assert "accessTokenTTL: 7m" in kept(done.stderr)
    assert live(cli, account)["spec"]["tokenSettings"] == {"accessTokenTTL": "6m"}


def test_the_record_of_the_last_apply_survives_unseen(cli: Cli, account: str, editor: Editor) -> None:
    before = live(cli, account)["metadata"]["annotations"][ANNOTATION]
    editor('sed -i "s/^metadata:/metadata:\\n  annotations: {mine: too}/" "$1"')
    assert cli("edit", "sa", f"editing/{account}").exit_code == 0
    assert live(cli, account)["metadata"]["annotations"] == {ANNOTATION: before, "mine": "too"}


@pytest.mark.parametrize(
    ("step", "said"), [("exit 3", "exit code 3"), (': > "$1"; rm "$1"', "could not be used: No such file")]
)
def test_an_editor_that_fails_changes_nothing(cli: Cli, account: str, editor: Editor, step: str, said: str) -> None:
    editor(step)
    done = cli("edit", "sa", f"editing/{account}")
    assert done.exit_code == 1
    assert said in done.stderr
    assert "your text is kept" not in done.stderr


def test_an_editor_that_fails_with_something_typed_keeps_it(cli: Cli, account: str, editor: Editor) -> None:
    editor('sed -i s/5m/7m/ "$1"; exit 1')
    assert "accessTokenTTL: 7m" in kept(cli("edit", "sa", f"editing/{account}").stderr)


def test_visual_comes_before_editor_and_may_have_arguments(cli: Cli, account: str, editor: Editor) -> None:
    editor("true")
    rewrite = "import pathlib, sys; p = pathlib.Path(sys.argv[1]); p.write_text(p.read_text().replace('5m', '9m'))"
    assert cli("edit", "sa", f"editing/{account}", VISUAL=f'{sys.executable} -c "{rewrite}"').exit_code == 0
    assert times_opened() == 0
    assert live(cli, account)["spec"]["tokenSettings"] == {"accessTokenTTL": "9m"}
    missing = cli("edit", "sa", f"editing/{account}", VISUAL="no-such-editor")
    assert "the editor no-such-editor could not be used" in missing.stderr
    assert "hint: set VISUAL or EDITOR" in missing.stderr
    assert cli("edit", "sa", f"editing/{account}", VISUAL="vi 'unfinished").exit_code == 2


def test_kinds_without_a_namespace_can_be_edited(cli: Cli, account: str, editor: Editor) -> None:
    del account
    annotating = 'sed -i "s/^metadata:/metadata:\\n  annotations: {edited: \'yes\'}/" "$1"'
    editor(annotating, annotating)
    for kind, name in (("namespace", "editing"), ("keyset", "default")):
        done = cli("edit", kind, name)
        assert (done.exit_code, done.stdout) == (0, f"{kind}/{name} edited\n"), done.output


# --- describe and get credentials --------------------------------------------------------------------------------------


def test_an_account_is_described_from_its_making_to_its_delivery(cli: Cli, account: str) -> None:
    pending = cli("describe", f"editing/{account}")
    assert pending.exit_code == 0, pending.output
    assert "AwaitingDelivery: nobody said that version 1 of its secret is stored" in pending.stdout
    assert f"`issuer rotate editing/{account} --out FILE` delivers it" in pending.stdout
    assert "waits for its driver to store it" in cli("get", "credentials", f"editing/{account}").stdout
    cli("rotate", f"editing/{account}", "--out", "it.env")
    secret = Path("it.env").read_text().rpartition("=")[2].strip()
    described = cli("describe", "sa", account, "-n", "editing").stdout
    assert "Warnings:" not in described
    assert secret not in described
    events = described.partition("Recent events:\n")[2].splitlines()[1:]
    assert [line.split("issuer-system/admin")[1].split("   ")[1] for line in events] == [
        "acknowledge credentials",
        "create credentials",
        "create",
    ]
    assert "status.phase: Pending → Active" in events[0]
    (row,) = cli("get", "credentials", f"editing/{account}").stdout.splitlines()[1:]
    assert row.split()[:2] == ["1", "active"]
    assert row.rstrip().endswith("in force")


@pytest.mark.parametrize("words", [("namespace", "editing"), ("keyset", "default")], ids=" ".join)
def test_every_kind_is_described(cli: Cli, account: str, words: tuple[str, ...]) -> None:
    del account
    described = cli("describe", *words)
    assert described.exit_code == 0, described.output
    assert "Recent events:" in described.stdout


# --- in a real shell ---------------------------------------------------------------------------------------------------


def test_bash_completes_what_the_script_for_it_says(cli: Cli, account: str, tmp_path: Path) -> None:
    del cli  # it sets the environment
    issuer = tmp_path / "bin" / "issuer"
    issuer.parent.mkdir()
    issuer.write_text(f"#!{sys.executable}\nimport sys\nsys.argv[0] = 'issuer'\nfrom issuer.cli import main\nmain()\n")
    issuer.chmod(0o755)
    asked = f"issuer describe sa editing/{account[:-3]}"
    script = f"""
        source <(_ISSUER_COMPLETE=source_bash issuer)
        COMP_WORDS=({asked}) COMP_CWORD=3
        _issuer_completion issuer && printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ("bash", "-c", script),
        env={**os.environ, "PATH": f"{issuer.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.stdout, done.stderr) == (f"editing/{account}\n", "")
