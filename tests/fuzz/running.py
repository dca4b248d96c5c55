"""One run of schemathesis over a real server of its own, and what must be true of that server afterwards."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from issuer.model.scopes import ADMIN_AUDIENCE
from tests.blackbox.processes import Started, serving
from tests.databases import ISSUER, Databases
from tests.fuzz.hooks import HOME
from tests.world import ACCOUNTS, NAMESPACES

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Fuzzed:
    """How a run ended. `failed`: requests the server had no answer for. `written`: how often what was written.

    `still_allowed`: whether the fuzzer's own token is good to the end.
    """

    exit_code: int
    said: str
    failed: Sequence[Mapping[str, Any]]
    written: Mapping[str, int]
    still_allowed: bool


@contextmanager
def served(databases: Databases, folder: Path) -> Iterator[tuple[Started, str]]:
    """A server on a fresh database, with a namespace and an account to find, and a token that outlives the run."""
    with databases.copy() as url:
        env = {
            "ISSUER_URL": ISSUER,
            "ISSUER_DATABASE_URL": url,
            "ISSUER_MASTER_KEY": databases.bootstrapped.master_key,
            "ISSUER_TOKENS__DEFAULT_TTL_S": "86400",
        }
        with serving(folder, env) as server:
            server.wait_for(lambda: server.readiness().status_code == 200)
            admin = databases.bootstrapped.admin
            answer = server.token(admin.client_id, admin.client_secret, resource=ADMIN_AUDIENCE)
            token = answer.json()["access_token"]
            server.client.headers["authorization"] = f"Bearer {token}"
            account = {"metadata": {"name": "api"}, "spec": {"scopes": ["api:read"]}}
            for path, body in ((NAMESPACES, {"metadata": {"name": HOME}}), (ACCOUNTS.format(namespace=HOME), account)):
                server.client.post(f"{server.admin}{path}", json=body).raise_for_status()
            yield server, token


def fuzz(databases: Databases, folder: Path, *options: str, live: bool = False) -> Fuzzed:
    """Runs schemathesis with these options. `live`: its output goes where ours does."""
    with served(databases, folder) as (server, token):
        command = (
            str(Path(sys.executable).parent / "schemathesis"),
            f"--config-file={ROOT / 'tests' / 'fuzz' / 'schemathesis.toml'}",
            "run",
            f"{server.admin}/openapi/v3",
            f"--header=Authorization: Bearer {token}",
            *options,
        )
        env = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.fuzz.hooks", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=env, cwd=folder, capture_output=not live, text=True, check=False)
        return Fuzzed(
            done.returncode,
            (done.stdout or "") + (done.stderr or ""),
            server.events("RequestFailed"),
            Counter(event["verb"] for event in server.events("ResourceWritten")),
            server.client.get(f"{server.admin}{NAMESPACES}/{HOME}").status_code == 200,
        )
