"""kill -9 of the replica that rotates, wherever it stands: the other one finishes, once, and nobody's token suffers.

The database makes the rotator stand still, inside a transaction or inside its commit; then the replica is killed, then the
database goes on. What was not committed is as if it had never been; a commit outlives the process that asked for it.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from issuer.model.times import format_time, parse_time
from tests.administration.paths import KEYSETS
from tests.blackbox.processes import PATIENCE_S, Started, serving
from tests.blackbox.replicas import Administrator, Workload, is_ready
from tests.blackbox.standstill import (
    COMMIT,
    DAWDLES,
    KEY,
    KEYSET,
    REVISION,
    ROLES,
    SECRET,
    STANDS_STILL,
    Witness,
    held,
    jwks,
    pair_of_replicas,
)
from tests.blackbox.test_key_rotation import MAX_AGE_S, REFRESH_S, accelerated
from tests.databases import Databases
from tests.store.rows import execute, query

# --- signing keys -----------------------------------------------------------------------------------------------------

IS_DUE: Mapping[str, str] = {
    "Prepare": "DELETE FROM signing_keys WHERE keyset = 'default' AND activated_at IS NULL",
    "Activate": """
        UPDATE signing_keys SET created_at = created_at - interval '31 days', published_at = published_at - interval '31 days',
            activated_at = activated_at - interval '31 days'
        WHERE keyset = 'default'
    """,
    "Retire": "UPDATE signing_keys SET activated_at = now() WHERE keyset = 'default' AND activated_at IS NULL",
    "Prune": """
        INSERT INTO signing_keys
            (kid, keyset, algorithm, public_jwk, sealed, created_at, published_at, activated_at, retires_at)
        SELECT 'ended', keyset, algorithm, public_jwk, sealed, created_at - interval '31 days',
            published_at - interval '31 days', activated_at - interval '31 days', now()
        FROM signing_keys WHERE keyset = 'default' AND activated_at IS NOT NULL
    """,
}
"""What makes one step due, and nothing else, in a life of months."""
FOLLOWS: Mapping[str, list[str]] = {
    "Prepare": ["prepare key"],
    "Activate": ["activate key", "prepare key"],
    "Retire": ["retire key", "prepare key"],
    "Prune": ["prune key"],
}
"""What is done then, as audit records name it: each of it once, whoever does it."""
ENDS_AS: Mapping[str, list[str]] = {
    "Prepare": ["active", "pending"],
    "Activate": ["retiring", "active", "pending"],
    "Retire": ["retiring", "active", "pending"],
    "Prune": ["active", "pending"],
}
STEPS_OF_DEFAULT = """
    SELECT verb, after FROM audit_records
    WHERE kind = 'KeySet' AND name = 'default' AND principal ->> 'kind' = 'system' ORDER BY revision
"""
IN_MAKE_TEST = {
    ("Prepare", REVISION),
    ("Activate", COMMIT),
    ("Retire", REVISION),
    ("Prune", KEYSET),
}


DAY, OUTAGE_S = timedelta(seconds=5), 2.0
LEAD = timedelta(seconds=2 * MAX_AGE_S + REFRESH_S + OUTAGE_S)
"""Of an accelerated life."""


def administrator_of(databases: Databases) -> Workload:
    admin = databases.bootstrapped.admin
    return Workload("", admin.client_id, admin.client_secret)


async def steps_taken(url: str) -> tuple[list[str], list[list[str]]]:
    """What rotators did with the KeySet `default`, and the states of its keys after each of it."""
    rows = await query(url, STEPS_OF_DEFAULT)
    rings = [json.loads(row["after"])["status"]["keys"] for row in rows]
    return [row["verb"] for row in rows], [[key["state"] for key in ring] for ring in rings]


async def until(url: str, verbs: list[str]) -> None:
    """Returns when rotators have done so much."""
    async with asyncio.timeout(PATIENCE_S):
        while len((await steps_taken(url))[0]) < len(verbs):  # noqa: ASYNC110 - another process does it
            await asyncio.sleep(0.05)


def said(server: Started) -> list[dict[str, Any]]:
    """The events of steps of the KeySet `default`."""
    names = ("KeyPublished", "KeyActivated", "KeyActivatedEarly", "KeyRetiring", "KeyForgotten")
    return [event for name in names for event in server.events(name) if event["keyset"] == "default"]


@pytest.mark.parametrize(
    ("step", "stop"),
    [
        pytest.param(step, stop, id=f"{step}-{stop}", marks=[] if (step, stop) in IN_MAKE_TEST else pytest.mark.long)
        for step in IS_DUE
        for stop in (KEYSET, KEY, REVISION, COMMIT)
    ],
)
async def test_a_rotator_killed_in_any_step_leaves_it_to_the_other_who_takes_it_once_while_every_token_verifies(
    databases: Databases, database_url: str, tmp_path: Path, step: str, stop: str
) -> None:
    await execute(database_url, STANDS_STILL)
    async with pair_of_replicas(tmp_path, databases, database_url) as pair:
        with httpx.Client(timeout=PATIENCE_S) as client:
            cached = jwks(client, pair.servers[0])
            with Witness([administrator_of(databases)], pair.servers).watching(lambda: cached) as witness:
                async with held(database_url, stop, pair.roles) as holder:
                    await execute(database_url, IS_DUE[step])
                    which, backend = await holder.waiting()
                    await asyncio.to_thread(witness.kill, pair.servers[which])
                    assert await holder.still_waits(backend)
                    assert (await steps_taken(database_url))[0] == []
                await until(database_url, FOLLOWS[step])
                tokens = witness.tokens
                while witness.tokens < tokens + 5:  # noqa: ASYNC110 - another thread
                    await asyncio.sleep(0.02)
            dead, alive = pair.servers[which], pair.servers[1 - which]
            published = {key.kid for key in jwks(client, alive).keys}
    verbs, rings = await steps_taken(database_url)
    (keyset,) = await query(database_url, "SELECT document FROM resources WHERE name = 'default'")
    comes_next = json.loads(keyset["document"])["status"]["next"]["at"]
    assert witness.failures == []
    assert verbs == FOLLOWS[step]
    assert [ring.count("active") for ring in rings] == [1] * len(rings)
    assert rings[-1] == ENDS_AS[step]
    assert comes_next > format_time(datetime.now(UTC) + timedelta(minutes=1))  # noqa: TID251 - nothing else is due
    keys = await query(database_url, "SELECT kid FROM signing_keys")
    assert published == {row["kid"] for row in keys}
    # What was committed behind a dead process's back is said by nobody; all else is said by who did it.
    assert (len(said(dead)), len(said(alive))) == (0, len(verbs) - (stop == COMMIT))
    assert alive.events("WorkFailed") == []


@pytest.mark.long
async def test_rotators_killed_at_any_moment_of_their_steps_never_rotate_twice_and_never_leave_a_ring_that_cannot_sign(
    databases: Databases, database_url: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    kills = 25
    await execute(database_url, DAWDLES)
    async with (
        pair_of_replicas(
            tmp_path, databases, database_url, partial(accelerated, day_s=DAY.total_seconds(), outage_s=OUTAGE_S)
        ) as pair,
        AsyncExitStack() as again,
    ):
        administrator = await asyncio.to_thread(Administrator, pair.servers[0], databases.bootstrapped.admin)
        await asyncio.to_thread(administrator.change, f"{KEYSETS}/default", rotation={"intervalDays": 1})
        administrator.close()
        with Witness([administrator_of(databases)], pair.servers).watching() as witness:
            for number in range(kills):
                which = await rotating(database_url, pair.roles)
                await asyncio.sleep(random.uniform(0, 0.3))
                await asyncio.to_thread(witness.kill, pair.servers[which])
                place = tmp_path / f"again-{number}"
                place.mkdir()
                server = await again.enter_async_context(in_threads(serving(place, pair.settings[which])))
                await asyncio.to_thread(server.wait_for, partial(is_ready, server))
                pair.servers[which] = server
    assert witness.failures == []
    _, rings = await steps_taken(database_url)
    assert {ring.count("active") for ring in rings} == {1}
    assert {ring.count("pending") for ring in rings} <= {0, 1}
    rows = await query(database_url, STEPS_OF_DEFAULT)
    activated = [json.loads(row["after"])["status"]["keys"] for row in rows if row["verb"] == "activate key"]
    signing = [next(key for key in ring if key["state"] == "active") for ring in activated]
    assert len({key["kid"] for key in signing}) == len(signing) >= kills // 5
    began = [parse_time(key["activatedAt"]) for key in signing]
    shown = timedelta(seconds=1)  # instants are shown in whole seconds
    assert all(later - sooner > DAY - shown for sooner, later in pairwise(began))
    known = [parse_time(key["publishedAt"]) + LEAD for key in signing]
    assert all(at > from_then - shown for at, from_then in zip(began, known, strict=True))
    record_property("figures", f"{kills} kills, {len(signing)} rotations, {witness.tokens} tokens")


async def rotating(url: str, roles: Sequence[str]) -> int:
    """Which replica is in the middle of a step now."""
    statement = """
        SELECT usename FROM pg_stat_activity JOIN pg_locks USING (pid)
        WHERE datname = current_database() AND locktype = 'advisory' AND granted AND starts_with(usename, $1)
    """
    async with asyncio.timeout(PATIENCE_S):
        while not (rows := await query(url, statement, ROLES)):  # noqa: ASYNC110 - another process does it
            await asyncio.sleep(0.02)
    return roles.index(rows[0]["usename"])


@asynccontextmanager
async def in_threads(starting: AbstractContextManager[Started]) -> AsyncIterator[Started]:
    """What starts and stops a process waits."""
    server = await asyncio.to_thread(starting.__enter__)
    try:
        yield server
    finally:
        await asyncio.to_thread(starting.__exit__, None, None, None)


# --- secrets ----------------------------------------------------------------------------------------------------------

ACCOUNTS = 25
"""More than one batch, so that both replicas are at work."""
ALL_DUE = """
    UPDATE secret_versions SET created_at = created_at - interval '91 days', activated_at = activated_at - interval '91 days'
    WHERE account_uid IN (SELECT uid FROM resources WHERE namespace = 'rotating');
    UPDATE resources
    SET document = jsonb_set(document::jsonb, '{status,nextCredentialRotation}', '"2020-01-01T00:00:00Z"')::json
    WHERE namespace = 'rotating' AND kind = 'ServiceAccount'
"""
ROTATED = """
    SELECT name, count(*) AS times FROM audit_records
    WHERE namespace = 'rotating' AND principal ->> 'kind' = 'system' AND verb = 'rotate' GROUP BY name
"""
VERSIONS = """
    SELECT name, array_agg(version ORDER BY version) AS versions FROM secret_versions
    JOIN resources ON uid = account_uid WHERE namespace = 'rotating' GROUP BY name
"""


@pytest.mark.parametrize("stop", [*(pytest.param(each, marks=pytest.mark.long) for each in (SECRET, REVISION)), COMMIT])
async def test_a_rotator_killed_in_a_batch_of_secrets_leaves_it_to_the_other_who_rotates_each_once_and_loses_none(
    databases: Databases, database_url: str, tmp_path: Path, stop: str
) -> None:
    await execute(database_url, STANDS_STILL)
    async with pair_of_replicas(tmp_path, databases, database_url) as pair:
        workloads = await asyncio.to_thread(accounts_that_rotate, pair.servers[0], databases)
        with Witness(workloads, pair.servers).watching() as witness:
            async with held(database_url, stop, pair.roles) as holder:
                await execute(database_url, ALL_DUE)
                which, backend = await holder.waiting()
                await asyncio.to_thread(witness.kill, pair.servers[which])
                assert await holder.still_waits(backend)
                assert await query(database_url, ROTATED) == []
            async with asyncio.timeout(PATIENCE_S):
                while len(await query(database_url, ROTATED)) < ACCOUNTS:  # noqa: ASYNC110 - another process does it
                    await asyncio.sleep(0.05)
        dead, alive = pair.servers[which], pair.servers[1 - which]
        delivered = await asyncio.to_thread(new_secrets, alive, databases, workloads)
    assert witness.failures == []
    assert {row["times"] for row in await query(database_url, ROTATED)} == {1}
    rows = await query(database_url, VERSIONS)
    assert [row["versions"] for row in rows] == [[1, 2]] * ACCOUNTS
    assert delivered == [200] * ACCOUNTS
    assert dead.events("SecretRotated") == []
    assert alive.events("WorkFailed") == []


def accounts_that_rotate(server: Started, databases: Databases) -> list[Workload]:
    """Accounts with a delivered secret each, which is due in months."""
    administrator = Administrator(server, databases.bootstrapped.admin)
    administrator.namespace("rotating")
    made = [
        administrator.account(f"api-{number}", "rotating", credentialRotation={"enabled": True})
        for number in range(ACCOUNTS)
    ]
    administrator.close()
    return made


def new_secrets(server: Started, databases: Databases, workloads: Sequence[Workload]) -> list[int]:
    """How a replica answers to the second secret of each account, as its driver reads it."""
    administrator = Administrator(server, databases.bootstrapped.admin)
    answers = []
    for workload in workloads:
        read = administrator.client.get(f"{workload.path}/credentials/current").json()
        assert read["version"] == 2
        answers.append(server.token(workload.client_id, read["clientSecret"]).status_code)
    administrator.close()
    return answers
