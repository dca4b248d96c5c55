"""`issuer audit verify` and `issuer audit export` as a person and a pipeline run them."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.blackbox.processes import Finished, run_here
from tests.databases import ISSUER, Databases
from tests.evidence.ledger import Ledger

# Commands have event loops of their own, so they run where no other one does: these tests are not async.


@pytest.fixture
async def recorded(ledger: Ledger) -> Ledger:
    """Five decisions and a checkpoint."""
    writer = await ledger.writer()
    await writer.write(5, ledger.world.clock.now(), ended=True)
    await ledger.world.issuer.recorder.finish()
    await ledger.attest()
    return ledger


@pytest.fixture
def env(databases: Databases, database_url: str) -> dict[str, str]:
    return {
        "ISSUER_URL": ISSUER,
        "ISSUER_DATABASE_URL": database_url,
        "ISSUER_MASTER_KEY": databases.bootstrapped.master_key,
    }


def audit(*arguments: str, env: Mapping[str, str]) -> Finished:
    return run_here("audit", *arguments, env=env)


def test_verify_says_what_it_saw_and_ends_with_0(recorded: Ledger, env: dict[str, str]) -> None:
    del recorded
    done = audit("verify", env=env)
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("1 checkpoint, the newest 1 of 20")
    assert lines[1].startswith("6 decisions in 2 chains, ")
    assert lines[2:] == ["Nothing is broken."]
    document = json.loads(audit("verify", "-o", "json", env=env).stdout)
    assert (document["broken"], document["faults"], document["decisions"]) == (0, [], 6)
    sha256 = document["newestCheckpoint"]["sha256"]
    assert sha256 in lines[0]
    assert audit("verify", "--checkpoint", f"1:{sha256}", env=env).exit_code == 0
    other = audit("verify", "--checkpoint", f"1:{'0' * 64}", "--checkpoint", f"2:{sha256}", env=env)
    assert (other.exit_code, len(other.stdout.splitlines())) == (1, 5)
    assert "is no checkpoint" in audit("verify", "--checkpoint", "1:abc", env=env).stderr


@pytest.fixture
async def broken(recorded: Ledger) -> Ledger:
    """The same, and one scope is another."""
    await recorded.execute("UPDATE decision_records SET scope = 'api:admin' WHERE sequence = 3")
    return recorded


def test_what_is_broken_is_named_and_the_exit_code_is_1(broken: Ledger, env: dict[str, str], tmp_path: Path) -> None:
    del broken
    file = tmp_path / "decisions-20260101.jsonl"
    file.write_text("{}")
    done = audit("verify", "--file", str(file), env=env)
    assert done.exit_code == 1
    *_, first, second, last = done.stdout.splitlines()
    assert first.startswith("record changed: record 01")
    assert second == "file changed: decisions-20260101.jsonl: no checkpoint names it"
    assert last == "BROKEN: the record is not what was recorded."
    document = json.loads(audit("verify", "-o", "json", env=env).stdout)
    ((fault,), number) = document["faults"], document["broken"]
    assert (fault["fault"], fault["sequence"], number) == ("record changed", 3, 1)
    assert fault["record"] in first


def test_without_the_master_key_nothing_can_be_verified(recorded: Ledger, env: dict[str, str]) -> None:
    del recorded
    done = audit("verify", env={name: value for name, value in env.items() if name != "ISSUER_MASTER_KEY"})
    assert done.exit_code == 1
    assert "There is no master key" in done.stderr


def test_export_writes_one_line_for_each_decision(recorded: Ledger, env: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "decisions.jsonl"
    done = audit("export", "--out", str(out), env=env)
    assert (done.exit_code, done.stdout) == (0, ""), done.stderr
    assert done.stderr == "6 decisions written.\n"
    lines = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [line["id"] for line in lines] == sorted(line["id"] for line in lines)
    ours = next(line for line in lines if line["sequence"] == 5)
    assert (ours["outcome"], ours["scope"], ours["policies"]) == ("issued", "api:read api:wörld", [["AuthPolicy/p", 3]])
    printed = audit("export", env={name: value for name, value in env.items() if name != "ISSUER_MASTER_KEY"})
    assert printed.stdout == out.read_text("utf-8")
    day = recorded.world.clock.now().date()
    assert audit("export", "--until", day.isoformat(), env=env).stdout == ""
    assert audit("export", "--from", day.isoformat(), env=env).stdout == printed.stdout


def test_what_export_wrote_cannot_be_verified_which_is_neither_broken_nor_in_order(
    recorded: Ledger, env: dict[str, str], tmp_path: Path
) -> None:
    del recorded
    out = tmp_path / "day.jsonl"
    audit("export", "--out", str(out), env=env)
    done = audit("verify", "--file", str(out), env=env)
    *_, file, last = done.stdout.splitlines()
    assert done.exit_code == 1
    assert file.startswith("not checked: day.jsonl: no checkpoint names it")
    assert last.startswith("NOT CHECKED: ")
    assert "BROKEN" not in done.stdout
    assert "Nothing is broken." not in done.stdout
    document = json.loads(audit("verify", "--file", str(out), "-o", "json", env=env).stdout)
    assert (document["broken"], document["unchecked"]) == (0, ["day.jsonl"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from", "yesterday"), "'yesterday' is neither a day such as 2026-11-01"),
        (("--from", "2026-11-02", "--until", "2026-11-01"), "--until must be later than --from"),
        (("--out", "/proc/nowhere/file"), "/proc/nowhere/file cannot be written: No such file or directory"),
    ],
)
def test_what_cannot_be_done_is_said(env: dict[str, str], arguments: tuple[str, ...], said: str) -> None:
    done = audit("export", *arguments, env=env)
    assert done.exit_code != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr
