"""`/metrics`: open, without names, of all processes, and no larger for all the strangers and accounts in the world."""

import asyncio
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import uuid4

import httpx
import pytest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from issuer.events import TokenIssued
from issuer.model.resource import client_id_of
from issuer.observe.metrics import Counts
from issuer.web.metrics import Exposition
from issuer.workers.readiness import SILENT_S, Readiness, State, report
from tests.observe.exposed import exposed, whole_state
from tests.observe.happened import filled
from tests.world import World

PROMTOOL = shutil.which("promtool")


async def scraped(world: World) -> dict[str, float]:
    """Every series by name and labels."""
    answer = await world.anonymous.get("/metrics")
    assert answer.status_code == 200
    return series(list(parse(answer.text)))


def series(metrics: Sequence[Metric]) -> dict[str, float]:
    return {
        sample.name + "".join(f"{{{label}={value}}}" for label, value in sorted(sample.labels.items())): sample.value
        for metric in metrics
        for sample in metric.samples
    }


async def test_it_is_open_and_nobody_keeps_it(world: World) -> None:
    answer = await world.anonymous.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"].startswith("text/plain; version=")


@pytest.mark.parametrize("accept", ["", "*/*", "text/html", "application/json", "text/plain;version=x"])
async def test_whoever_asks_for_something_else_gets_the_text_of_prometheus(world: World, accept: str) -> None:
    answer = await world.anonymous.get("/metrics", headers={"accept": accept})
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert list(parse(answer.text))


@pytest.mark.parametrize("version", [";version=1.0.0", "", ";version=x", ";version=1.1.canary"])
async def test_whoever_asks_for_openmetrics_gets_it(world: World, version: str) -> None:
    accept = f"application/openmetrics-text{version},text/plain;version=0.0.4;q=0.5"
    answer = await world.anonymous.get("/metrics", headers={"accept": accept})
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    said = parse_openmetrics(answer.text)  # type: ignore[no-untyped-call]
    assert {metric.name for metric in said} >= {metric.name for metric in exposed()}


async def test_it_names_nobody(world: World) -> None:
    client = await world.account("hush-account", "hush-namespace", audiences=["https://hush.example"])
    assert (await client.token()).status_code == 200
    assert (await world.token(client.client_id, "wrong")).status_code == 401
    keysets = "/apis/auth.nauthera.io/v1alpha1/keysets"
    document = {
        "metadata": {"name": "hush-keys"},
        "spec": {"algorithm": "ES256", "audiences": ["https://hush.example"]},
    }
    assert (await world.admin.post(keysets, json=document)).status_code == 201
    text = (await world.anonymous.get("/metrics")).text
    kids = world.issuer.reloader.snapshot().published  # type: ignore[union-attr]
    assert [name for name in ("hush", client.client_id, "127.0.0.1", "issuer-system", *kids) if name in text] == []


async def test_what_clients_got_is_what_it_says(world: World) -> None:
    client = await world.account()
    before = await scraped(world)
    for _ in range(3):
        assert (await client.token()).status_code == 200
    assert (await client.token(scope="api:more")).status_code == 400
    assert (await world.token(client.client_id, "wrong")).status_code == 401
    after = await scraped(world)
    grown = {name: after[name] - before[name] for name in after if after[name] != before.get(name)}
    assert grown["issuer_tokens_issued_total"] == 3
    assert grown["issuer_token_refusals_total{failure=scope_not_held}"] == 1
    assert grown["issuer_token_refusals_total{failure=secret_wrong}"] == 1
    counts = {
        status: grown[f"issuer_token_request_duration_seconds_count{{status={status}}}"] for status in (200, 400, 401)
    }
    assert counts == {200: 3, 400: 1, 401: 1}
    assert grown["issuer_directory_hits_total{process=server}"] >= 4


async def test_it_says_what_is_now(world: World) -> None:
    snapshot = world.issuer.reloader.snapshot()
    assert snapshot is not None
    now = await scraped(world)
    assert now["issuer_ready"] == now["issuer_process_ready{process=server}"] == 1
    assert now["issuer_process_degraded{process=server}"] == 0
    assert now["issuer_snapshot_revision{process=server}"] == snapshot.revision
    assert now["issuer_directory_accounts{process=server}"] == len(world.issuer.directory)
    assert now["process_resident_memory_bytes{process=server}"] > 0
    world.clock.advance(seconds=90)
    assert (await scraped(world))["issuer_snapshot_age_seconds{process=server}"] == pytest.approx(90, abs=1)
    assert (await scraped(world))["issuer_process_degraded{process=server}"] == 1


async def test_thousands_of_strangers_and_many_accounts_add_no_series(world: World) -> None:
    before = await scraped(world)
    for number in range(10):
        client = await world.account(
            f"account-{number}", f"namespace-{number}", audiences=[f"https://{number}.example"]
        )
        assert (await client.token()).status_code == 200
    async with httpx.AsyncClient(transport=httpx.ASGITransport(world.issuer.public), base_url="http://x") as public:
        for number in range(2_000):
            form = {"grant_type": "client_credentials", "client_id": f"stranger-{number}", "client_secret": str(number)}
            assert (await public.post("/oauth2/token", data=form)).status_code in {401, 429}
    for _ in range(50):
        assert (await world.token(client_id_of(uuid4()), "unknown")).status_code in {401, 429}
        assert (await world.anonymous.get(f"/apis/{uuid4()}")).status_code == 404
    after = await scraped(world)
    assert after.keys() == before.keys()
    refused = sum(value for name, value in after.items() if name.startswith("issuer_token_refusals_total"))
    assert refused - sum(before[name] for name in before if name.startswith("issuer_token_refusals_total")) == 2_050


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (apt-get install prometheus)")
async def test_promtool_finds_nothing_to_complain_about(world: World) -> None:
    assert PROMTOOL is not None
    text = (await world.anonymous.get("/metrics")).content
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True, check=False)  # noqa: ASYNC221
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


# --- several processes ---


class Channel:
    """The admin process's view of two workers, without processes: what they say is put where `listen` puts it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.readiness = Readiness(whole_state, lambda: self.now, workers=2)

    def says(self, name: str, state: State) -> None:
        self.readiness._heard[name] = (self.now, state)

    def read(self) -> Mapping[str, float]:
        return series(list(Exposition(self.readiness).collect()))


def worker(tokens: int) -> State:
    counts = Counts()
    for _ in range(tokens):
        counts.read(filled(TokenIssued, "x"))
    return replace(whole_state(), counted=counts.numbers)


async def test_what_a_worker_reports_arrives_whole_however_much_it_has_counted() -> None:
    hears, says = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    most = replace(
        whole_state(), counted=[1e15 / 7] * len(Counts().numbers), why_not_ready="x" * 500, degraded="y" * 500
    )
    readiness = Readiness(whole_state, lambda: 0.0, workers=1)
    with hears, says:
        running = [
            asyncio.create_task(readiness.listen(hears)),
            asyncio.create_task(report(says, "worker-1", lambda: most)),
        ]
        async with asyncio.timeout(10):
            while not readiness.states()["worker-1"].counted:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    assert readiness.states()["worker-1"] == most


def test_before_a_worker_has_said_anything_there_are_all_series_and_the_server_is_not_ready() -> None:
    said = Channel().read()
    assert (said["issuer_ready"], said["issuer_tokens_issued_total"]) == (0, 0)
    assert said["issuer_process_ready{process=worker-2}"] == 0


def test_what_workers_count_is_one_number_and_how_they_are_is_one_each() -> None:
    channel = Channel()
    channel.says("worker-1", worker(3))
    channel.says("worker-2", replace(worker(4), clock_ahead_s=-2.5, accounts=12))
    said = channel.read()
    assert (said["issuer_ready"], said["issuer_tokens_issued_total"]) == (1, 7)
    assert said["issuer_clock_skew_seconds{process=worker-2}"] == -2.5
    assert [said[f"issuer_directory_accounts{{process=worker-{number}}}"] for number in (1, 2)] == [0, 12]


def test_a_worker_that_falls_silent_takes_nothing_back() -> None:
    """A sum that falls would be read as a restart, and everything it says after that as new."""
    channel = Channel()
    channel.says("worker-1", worker(3))
    channel.now = SILENT_S + 1
    channel.says("worker-2", worker(4))
    said = channel.read()
    assert (said["issuer_ready"], said["issuer_process_ready{process=worker-1}"]) == (0, 0)
    assert said["issuer_tokens_issued_total"] == 7


def test_of_work_that_several_do_the_longest_undone_counts() -> None:
    channel = Channel()
    channel.says("worker-1", replace(worker(0), idle_s={"expiry": 40.0}))
    assert channel.read()["issuer_work_last_success_age_seconds{work=expiry}"] == 40
