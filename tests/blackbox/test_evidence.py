"""What a server that stops leaves behind: every chain stated to its end, and a record that verifies."""

import json
import signal
from pathlib import Path

import httpx
import pytest

from issuer.record.administrative import ADMIN_CHAIN
from tests.blackbox.processes import run_here, serving
from tests.databases import ISSUER as URL
from tests.databases import Databases


@pytest.fixture
def own(databases: Databases, database_url: str) -> dict[str, str]:
    """The settings of a server whose record nobody else writes to."""
    return {
        "ISSUER_URL": URL,
        "ISSUER_DATABASE_URL": database_url,
        "ISSUER_MASTER_KEY": databases.bootstrapped.master_key,
    }


def test_a_server_that_stopped_in_order_leaves_nothing_unfinished(
    databases: Databases, own: dict[str, str], tmp_path: Path
) -> None:
    admin = databases.bootstrapped.admin
    with serving(tmp_path, own, "--workers", "2") as server:
        server.wait_for(lambda: server.readiness().status_code == 200)
        for _ in range(10):
            form = {"grant_type": "client_credentials"}
            answer = httpx.post(f"{server.public}/oauth2/token", data=form, auth=(admin.client_id, admin.client_secret))
            assert answer.status_code == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(15) == 0
        assert server.events("CheckpointSigned")
        assert server.events("WorkFailed") == []
    said = json.loads(run_here("audit", "verify", "-o", "json", env=own).stdout)
    assert (said["faults"], said["unfinished"], said["decisions"]) == ([], [], 10)
    assert said["administrativeRecords"] > 0


def test_a_server_that_was_killed_leaves_a_record_that_is_unfinished_and_not_broken(
    databases: Databases, own: dict[str, str], tmp_path: Path
) -> None:
    admin = databases.bootstrapped.admin
    with serving(tmp_path, own) as server:
        server.wait_for(lambda: server.readiness().status_code == 200)
        form = {"grant_type": "client_credentials"}
        answer = httpx.post(f"{server.public}/oauth2/token", data=form, auth=(admin.client_id, admin.client_secret))
        assert answer.status_code == 200
        server.stop(signal.SIGKILL)
    said = json.loads(run_here("audit", "verify", "-o", "json", env=own).stdout)
    assert (said["faults"], said["decisions"]) == ([], 1)
    # Whether administrative records were sealed by then is a matter of a second.
    left = [each for each in said["unfinished"] if each["chain"] != str(ADMIN_CHAIN)]
    assert [(each["records"], each["ended"]) for each in left] == [(1, False)]
