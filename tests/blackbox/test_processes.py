"""`issuer serve` is several processes and one server: started together, ready together, stopped together."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.blackbox.processes import Started, eventually, serving
from tests.databases import Databases

WORKERS = 2


@pytest.fixture
def server(environment: dict[str, str], tmp_path: Path) -> Iterator[Started]:
    with serving(tmp_path, environment, "--workers", str(WORKERS)) as running:
        running.wait_for(lambda: running.readiness().status_code == 200)
        yield running


def children(server: Started) -> list[int]:
    """The processes of the server: the admin process first, then the workers."""
    listed = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text(encoding="ascii")
    return [int(pid) for pid in listed.split()]


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def verbose(server: Started, databases: Databases) -> list[str]:
    admin = databases.bootstrapped.admin
    token = server.token(admin.client_id, admin.client_secret, resource="urn:issuer:admin").json()["access_token"]
    answer = server.client.get(f"{server.admin}/readyz?verbose", headers={"authorization": f"Bearer {token}"})
    return answer.text.splitlines()


def test_one_process_a_worker_and_one_for_administrators_and_readiness_speaks_for_all(
    server: Started, databases: Databases
) -> None:
    assert len(children(server)) == WORKERS + 1
    lines = verbose(server, databases)
    assert [line.partition(" (revision ")[0] for line in lines] == [
        "[+]admin ok",
        "[+]worker-1 ok",
        "[+]worker-2 ok",
        "ok",
    ]
    assert server.client.get(f"{server.admin}/readyz?verbose").status_code == 401
    assert server.readiness().text == "ok\n"


def test_tokens_come_from_the_workers_and_never_from_the_admin_process(server: Started, databases: Databases) -> None:
    admin = databases.bootstrapped.admin
    for _ in range(20):
        assert server.token(admin.client_id, admin.client_secret).status_code == 200
    assert server.client.get(f"{server.admin}/.well-known/jwks.json").status_code == 404
    assert server.client.get(f"{server.public}/livez").status_code == 404


def test_a_stopped_worker_ends_readiness_and_its_return_brings_it_back(server: Started) -> None:
    worker = children(server)[1]
    os.kill(worker, signal.SIGSTOP)
    try:
        server.wait_for(lambda: server.readiness().status_code == 503)
        assert server.readiness().text == "not ready: a worker does not answer\n"
    finally:
        os.kill(worker, signal.SIGCONT)
    server.wait_for(lambda: server.readiness().status_code == 200)


@pytest.mark.parametrize("which", [0, 1], ids=["the admin process", "a worker"])
def test_a_process_that_dies_takes_the_whole_server_down(server: Started, which: int) -> None:
    pids = children(server)
    os.kill(pids[which], signal.SIGKILL)
    assert server.process.wait(15) == 1
    assert [(event["process"], event["exit_code"]) for event in server.events("ProcessEnded")] == [
        (("admin", "worker-1")[which], -signal.SIGKILL)
    ]
    assert all(map(gone, pids))


def test_nothing_is_left_when_the_parent_is_killed(server: Started) -> None:
    pids = children(server)
    server.process.kill()
    server.process.wait(5)
    eventually(lambda: all(map(gone, pids)), patience_s=15)


def test_a_second_signal_ends_a_drain_at_once(environment: dict[str, str], tmp_path: Path) -> None:
    with serving(tmp_path, {**environment, "ISSUER_DRAIN_DELAY_S": "200"}) as server:
        server.wait_for(lambda: server.readiness().status_code == 200)
        pids = children(server)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for(lambda: server.events("ServerStopping"))
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(5) == 130
        eventually(lambda: all(map(gone, pids)), patience_s=5)


def test_a_signal_to_the_whole_group_is_one_orderly_stop(server: Started) -> None:
    """What a terminal and systemd do."""
    assert server.stop(signal.SIGTERM) == 0
    assert server.events("ProcessEnded") == []
    assert "Traceback" not in server.said
