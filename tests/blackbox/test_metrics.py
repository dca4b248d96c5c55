"""`/metrics` of a real server: what its clients counted, whichever worker answered them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.blackbox.processes import Started, serving
from tests.databases import Databases

WORKERS = 2
CLIENTS = 8
EACH = 25
COUNT = "issuer_token_request_duration_seconds_count"


@pytest.fixture
def server(environment: dict[str, str], tmp_path: Path) -> Iterator[Started]:
    with serving(tmp_path, environment, "--workers", str(WORKERS)) as running:
        running.wait_for(lambda: running.readiness().status_code == 200)
        yield running


def scraped(server: Started) -> dict[tuple[str, str], float]:
    """Every series by its name and the value of its one label."""
    return {
        (sample.name, next((value for label, value in sample.labels.items() if label != "le"), "")): sample.value
        for metric in parse(server.client.get(f"{server.admin}/metrics").text)
        for sample in metric.samples
    }


def ask(server: Started, credential: tuple[str, str], times: int) -> list[int]:
    """Statuses, each request on a connection of its own: the kernel gives them to the workers in turn."""
    form = {"grant_type": "client_credentials"}
    return [httpx.post(f"{server.public}/oauth2/token", data=form, auth=credential).status_code for _ in range(times)]


def test_tokens_that_clients_counted_are_the_sum_over_all_workers(server: Started, databases: Databases) -> None:
    admin = databases.bootstrapped.admin
    good, bad = (admin.client_id, admin.client_secret), ("nobody", "wrong")
    with ThreadPoolExecutor(CLIENTS) as pool:
        got = [pool.submit(ask, server, credential, EACH) for credential in (good, bad) * (CLIENTS // 2)]
        statuses = [status for each in got for status in each.result()]
    counted = {status: statuses.count(status) for status in (200, 401, 429)}
    assert sum(counted.values()) == CLIENTS * EACH

    def all_reported() -> dict[tuple[str, str], float]:
        said = scraped(server)
        return said if {status: said[COUNT, str(status)] for status in counted} == counted else {}

    said = server.wait_for(all_reported)
    assert said["issuer_tokens_issued_total", ""] == counted[200] == CLIENTS * EACH // 2
    assert said["issuer_token_refusals_total", "client_unknown"] == counted[401]
    assert said["issuer_token_refusals_total", "too_many_failures"] == counted[429]
    answered = [said["issuer_directory_hits_total", f"worker-{number}"] for number in range(1, WORKERS + 1)]
    assert all(answered), "both workers had their share, or this test proves nothing"


def test_every_process_has_its_own_numbers(server: Started) -> None:
    said = scraped(server)
    processes = ("admin", "worker-1", "worker-2")
    for name in ("issuer_snapshot_age_seconds", "issuer_clock_skew_seconds", "process_resident_memory_bytes"):
        assert {value for metric, value in said if metric == name} == set(processes)
    assert [said["issuer_process_ready", process] for process in processes] == [1, 1, 1]
    assert said["issuer_work_last_success_age_seconds", "signing keys"] < 30
    assert said["issuer_ready", ""] == 1
