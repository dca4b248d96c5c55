"""The import contracts of pyproject.toml hold, and each of them bites."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Module to spoil, the line that spoils it, the contract that must notice.
SPOILED = [
    ("policy.py", "from issuer import issuance", "A module imports only what stands below it"),
    ("store/keys.py", "from issuer import snapshot, administration", "A module imports only what stands below it"),
    ("model/scope.py", "import os", "Pure modules know neither"),
    ("protocol/request.py", "import random", "Pure modules know neither"),
    ("signing/ticket.py", "import secrets", "Pure modules know neither"),
    ("snapshot.py", "import logging", "Pure modules know neither"),
    ("credentials.py", "import time", "Pure modules know neither"),
    ("checks/server.py", "import os", "Checks judge facts, and gather none"),
    ("administration/resources.py", "import sqlalchemy", "Only the store knows SQL"),
    ("administration/guard.py", "import starlette", "Only web knows Starlette"),
    ("store/world.py", "import logging", "Only observe logs"),
    ("workers/readiness.py", "import prometheus_client", "Only observe and web know Prometheus"),
    ("web/tracing.py", "import opentelemetry", "Only observe knows OpenTelemetry"),
    ("signing/signer.py", "import authlib", "Only protocol imports Authlib"),
]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "issuer", tmp_path / "issuer", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_contracts_hold(copy: Path) -> None:
    result = lint_imports(copy)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(("module", "line", "contract"), SPOILED, ids=[f"{m}: {line}" for m, line, _ in SPOILED])
def test_contract_notices(copy: Path, module: str, line: str, contract: str) -> None:
    with (copy / "issuer" / module).open("a") as file:
        file.write(f"\n{line}\n")
    result = lint_imports(copy)
    broken = [each for each in result.stdout.splitlines() if each.endswith("BROKEN")]
    assert result.returncode != 0
    assert any(each.startswith(contract) for each in broken), result.stdout


def test_a_new_module_must_find_its_layer(copy: Path) -> None:
    (copy / "issuer" / "newcomer.py").write_text('"""Where do I belong?"""\n')
    result = lint_imports(copy)
    assert result.returncode != 0
    assert "newcomer" in result.stdout
