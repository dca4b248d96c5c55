"""`issuer check` as a person and a pipeline run it: what it prints, its exit codes, and what it never does."""

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from issuer.checks.table import CHECKS
from tests.blackbox.processes import Finished, run, run_here
from tests.checks.replication import Replicated, demanded
from tests.databases import Databases
from tests.store.rows import count_rows, query

NAMES = [check.name for check in CHECKS]


@pytest.fixture
def deployment(replicated: Replicated, tmp_path: Path) -> dict[str, str]:
    """The environment of a production server with nothing to complain about but its asynchronous standby."""
    key = tmp_path / "master.key"
    key.touch(0o600)
    key.write_text(replicated.bootstrapped.master_key)
    return {
        "ISSUER_URL": "https://auth.example.com",
        "ISSUER_DATABASE_URL": replicated.primary.url,
        "ISSUER_MASTER_KEY_FILE": str(key),
    }


def check(*arguments: str, env: Mapping[str, str]) -> Finished:
    return run_here("check", *arguments, env=env)


def findings(env: Mapping[str, str], *arguments: str) -> dict[str, dict[str, Any]]:
    """Those that are not ok, by name of the check."""
    document = json.loads(check("-o", "json", *arguments, env=env).stdout)
    return {finding["check"]: finding for finding in document["findings"] if finding["level"] != "ok"}


def test_a_deployment_in_order_passes_even_strictly(replicated: Replicated, deployment: dict[str, str]) -> None:
    with demanded(replicated.primary):
        done = check("--strict", env=deployment)
    assert done.exit_code == 0, done.stdout
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["LEVEL", "CHECK", "FINDING"]
    assert [line[3:].strip().startswith(name) for line, name in zip(lines[1:], NAMES, strict=False)] == [True] * len(
        NAMES
    )
    assert lines[-1] == "no errors, no warnings"
    assert done.stderr == ""


def test_a_warning_fails_only_when_told_to(deployment: dict[str, str]) -> None:
    done = check(env=deployment)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == "no errors, 1 warning"
    assert "Replication to walreceiver is asynchronous" in done.stdout
    assert "→ set synchronous_standby_names" in done.stdout
    assert check("--strict", env=deployment).exit_code == 1


def test_an_error_fails(replicated: Replicated, deployment: dict[str, str]) -> None:
    done = check(env={**deployment, "ISSUER_DATABASE_URL": replicated.standby.url})
    assert done.exit_code == 1
    assert re.search(r"^error +database +127\.0\.0\.1 answers as a standby", done.stdout, re.MULTILINE)


def test_what_is_planned_decides_how_many_connections_are_enough(deployment: dict[str, str]) -> None:
    assert "connections" not in findings(deployment)
    few = findings(deployment, "--replicas", "20", "--workers", "8")
    assert few["connections"]["message"].startswith("20 replicas of 9 processes")


def test_without_the_database_everything_else_is_still_checked(deployment: dict[str, str]) -> None:
    away = {
        **deployment,
        "ISSUER_DATABASE_URL": "postgresql://issuer:canary@127.0.0.1:9/issuer",
        "ISSUER_LOG__LEVEL": "debug",
    }
    done = check(env=away)
    assert done.exit_code == 1
    assert "The database at 127.0.0.1 does not answer: nothing listens there." in done.stdout
    assert "log.level is debug" in done.stdout
    made = NAMES.index("database") + 1
    assert f"Not checked, because of the errors above: {', '.join(NAMES[made:])}." in done.stdout
    assert done.stdout.splitlines()[-1] == "1 error, 1 warning"


def test_every_fault_of_the_settings_is_named_at_once(deployment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "issuer.yaml").write_text("colour: red\n")
    wrong = {**deployment, "ISSUER_TOKENS__MAX_TTL_S": "1", "ISSUER_DATABSE_URL": "postgresql://canary"}
    found = findings(wrong, "--config", str(tmp_path / "issuer.yaml"))
    assert [fault.partition(":")[0] for fault in found["settings"]["details"]] == ["tokens.max_ttl_s", "colour"]
    assert found["environment"]["details"] == ["ISSUER_DATABSE_URL: did you mean ISSUER_DATABASE_URL?"]


def test_files_are_looked_at_as_they_are(deployment: dict[str, str], tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("auth.example.com")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "tls.pem")
    (tmp_path / "tls.pem").chmod(0o644)
    tls = {
        "ISSUER_PUBLIC_CERTIFICATE_FILE": str(tmp_path / "tls.pem"),
        "ISSUER_PUBLIC_KEY_FILE": str(tmp_path / "tls.pem"),
    }
    found = findings({**deployment, **tls})
    assert found["key files"]["details"] == [f"key of the public port: {tmp_path / 'tls.pem'} (mode 0644)"]
    assert "certificates" not in found
    (tmp_path / "tls.pem").write_text("no certificate")
    assert "cannot be used" in findings({**deployment, **tls})["certificates"]["details"][0]


def test_folders_are_tried_and_nothing_stays_of_it(deployment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    (tmp_path / "there").mkdir()
    before = sorted(tmp_path.rglob("*"))

    def said(spool: str, export: str, on_outage: str = "spool") -> dict[str, Any]:
        audit = {"SPOOL_DIR": str(tmp_path / spool), "EXPORT_DIR": str(tmp_path / export), "ON_OUTAGE": on_outage}
        env = {f"ISSUER_AUDIT__{name}": value for name, value in audit.items()}
        return findings({**deployment, **env}).get("folders", {})

    assert said("there", "not/yet/there") == {}
    assert said("file/x", "/proc/nowhere")["details"] == [
        f"audit.spool_dir: {tmp_path}/file/x (Not a directory)",
        "audit.export_dir: /proc/nowhere (No such file or directory)",
    ]
    assert said("lost/x", "there")["level"] == "error"
    assert said("there", "file")["level"] == "warning"
    assert said("file/x", "there", on_outage="refuse") == {}, "it is not used"
    assert sorted(tmp_path.rglob("*")) == before


def test_another_master_key_is_noticed(databases: Databases, deployment: dict[str, str]) -> None:
    with databases.copy() as url:
        found = findings({**deployment, "ISSUER_DATABASE_URL": url})
    assert found["sealed data"]["level"] == "error"


def test_nobody_who_can_administer_is_noticed_until_somebody_is_let_back_in(
    databases: Databases, deployment: dict[str, str]
) -> None:
    disable = (
        """UPDATE resources SET document = jsonb_set(document::jsonb, '{spec,disabled}', 'true') WHERE name = 'admin'"""
    )
    with databases.copy() as url:
        env = {**deployment, "ISSUER_DATABASE_URL": url, "ISSUER_MASTER_KEY": databases.bootstrapped.master_key}
        del env["ISSUER_MASTER_KEY_FILE"]
        assert "bootstrap" not in findings(env)
        asyncio.run(query(url, disable))
        assert "issuer bootstrap --recover" in findings(env)["bootstrap"]["nextStep"]
        assert run_here("bootstrap", "--recover", env=env).exit_code == 0
        assert "bootstrap" not in findings(env)


def test_an_empty_database_is_told_what_to_run(databases: Databases, deployment: dict[str, str]) -> None:
    with databases.empty() as url:
        found = findings({**deployment, "ISSUER_DATABASE_URL": url})
    assert found["schema"]["nextStep"] == "run `issuer migrate`"


def test_machines_read_the_same_as_json_and_yaml(deployment: dict[str, str]) -> None:
    document = json.loads(check("-o", "json", env=deployment).stdout)
    assert [finding["check"] for finding in document["findings"]] == NAMES
    assert (document["errors"], document["warnings"], document["notMade"]) == (0, 1, [])
    assert document["findings"][0].keys() == {"check", "level", "message", "details", "nextStep"}
    assert yaml.safe_load(check("-o", "yaml", env=deployment).stdout) == document


def test_nothing_is_written_and_no_secret_is_shown(replicated: Replicated, deployment: dict[str, str]) -> None:
    password = replicated.primary._password
    secrets = [password, replicated.bootstrapped.master_key.partition(":")[2].strip(), "canary"]
    before = asyncio.run(count_rows(replicated.primary.url))
    for changed in (
        {},
        {"ISSUER_DATABASE_URL": replicated.primary.url.replace(password, "canary")},
        {"ISSUER_DATABASE_URL": "postgresql://issuer:canary@[::1/issuer"},
        {"ISSUER_MASTER_KEY": "k1:canary"},
        {"ISSUER_MASTER_KEY_FILE": "", "ISSUER_MASTER_KEY": "k1:canary"},
    ):
        for style in ("table", "json"):
            done = check("-o", style, env={**deployment, **changed})
            assert [secret for secret in secrets if secret in done.stdout + done.stderr] == []
    assert asyncio.run(count_rows(replicated.primary.url)) == before


def test_the_program_itself_says_so_by_its_exit_code(tmp_path: Path) -> None:
    done = run("check", cwd=tmp_path)
    assert done.exit_code == 1
    assert "→ set ISSUER_URL" in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stderr == ""
    assert check("--replicas", "0", env={}).exit_code == 2
