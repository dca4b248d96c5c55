"""What policies cost a token: 1,000 of them, 20 reaching the account, against none; and compiling them once."""

import asyncio
import os
from dataclasses import replace
from time import process_time
from typing import Any

import uvloop

from issuer.model.kinds import AUTH_POLICY, CLUSTER_AUTH_POLICY, parse_manifest
from issuer.model.resource import Resource
from issuer.observe.log import log_events
from issuer.policy.ceilings import Policies, compile_policy, index_policies
from issuer.settings import LogSettings, load_settings
from issuer.snapshot import Snapshot
from issuer.wiring import Issuer, lay_foundation, wire
from tests.benchmarks.cpu import Driver, unrecorded
from tests.benchmarks.report import MICROSECONDS, BenchmarkFailed, Budget, Row
from tests.benchmarks.stage import URL, Effort, Stage
from tests.governance.builders import resource

POLICIES = 1000
REACHING = 20
BUDGET = Budget("≤", 1.05)
NAMESPACE = "payments-prod"


def run(stage: Stage, effort: Effort) -> list[Row]:
    """One row with a budget, one for information. Raises BenchmarkFailed."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_compare(stage, effort))


async def _compare(stage: Stage, effort: Effort) -> list[Row]:
    settings = load_settings(url=URL, database_url=stage.database_url, master_key=stage.master_key)
    written = list(_written())
    compiling = [_compile_ms(written) for _ in range(5)]
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: ASYNC230, PTH123 - never blocks
        free, governed = (wire(lay_foundation(settings, log_events(LogSettings(), nowhere))) for _ in range(2))
        try:
            for issuer in (free, governed):
                await issuer.reloader.catch_up()
            _put_in_force(governed, index_policies(map(compile_policy, written), {NAMESPACE: {}}))
            drivers = Driver(unrecorded(governed), stage.request), Driver(unrecorded(free), stage.request)
            for driver in drivers:
                await driver.check()
                await driver.spend_us(effort.cpu_tokens)
            spent: dict[Driver, list[float]] = {driver: [] for driver in drivers}
            for number in range(effort.cpu_rounds):
                for driver in drivers if number % 2 == 0 else reversed(drivers):
                    spent[driver].append(await driver.spend_us(effort.cpu_tokens))
        finally:
            for issuer in (free, governed):
                await issuer.close()
    name = f"token, {POLICIES} policies ({REACHING} reach) : none"
    return [
        Row(name, MICROSECONDS, spent[drivers[0]], spent[drivers[1]], BUDGET),
        Row(f"compiling {POLICIES} policies : parsing them", "ms", compiling, [_parse_ms() for _ in range(5)]),
    ]


def _put_in_force(issuer: Issuer, policies: Policies) -> None:
    """Swaps the snapshot's policies, as the reloader does when they are written. Raises BenchmarkFailed."""
    snapshot: Snapshot | None = issuer.reloader.snapshot()
    if snapshot is None:
        raise BenchmarkFailed("there is no snapshot")
    governance = replace(snapshot.governance, policies=policies)
    issuer.reloader.swap(replace(snapshot, governance=governance))


def _spec(number: int) -> dict[str, Any]:
    """Every part present, nothing the account has withheld."""
    return {
        "scopes": {"allowed": ["api:*", f"db:{number}"], "denied": [f"api:never:{number}:*"]},
        "audiences": {"allowed": [URL, f"https://{number}.example.com"]},
        "claims": {"denied": [f"claim-{number}"]},
        "tokenSettings": {"maxAccessTokenTTL": "15m"},
        "credentialRotation": {"maxIntervalDays": 90},
    }


def _written() -> list[Resource]:
    found = []
    for number in range(POLICIES):
        if number < REACHING // 2:
            found.append(resource(CLUSTER_AUTH_POLICY, "", f"cluster-{number}", _spec(number)))
        elif number < REACHING:
            found.append(resource(AUTH_POLICY, NAMESPACE, f"here-{number}", _spec(number)))
        else:
            found.append(resource(AUTH_POLICY, f"elsewhere-{number % 100}", f"there-{number}", _spec(number)))
    return found


def _compile_ms(written: list[Resource]) -> float:
    started = process_time()
    index_policies(map(compile_policy, written), {})
    return (process_time() - started) * 1e3


def _parse_ms() -> float:
    """Checking as many manifests: what reading them in over the API costs."""
    started = process_time()
    for number in range(POLICIES):
        document = {"metadata": {"name": f"p-{number}"}, "spec": _spec(number)}
        parse_manifest(CLUSTER_AUTH_POLICY, document, namespace="", name=None, methods=frozenset())
    return (process_time() - started) * 1e3
