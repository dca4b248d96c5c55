"""A database full of accounts: rows as the API would have written them, each with a secret of its own that verifies.

Only the change log and the audit records of their creation are missing: nobody follows a database that is being filled.
"""

from collections.abc import Iterator
from hmac import digest
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from issuer.model.resource import client_id_of
from issuer.sources import system_sources
from tests.benchmarks.report import BenchmarkFailed
from tests.benchmarks.stage import SCOPES, URL, Stage
from tests.world import basic, started_world

PER_NAMESPACE = 100
CHOSEN = 1_000
"""So many carry the label `tier: chosen`, however many there are."""

_CHUNK = 50_000
_MADE = "CREATE TEMPORARY TABLE made (number integer, uid uuid, hmac bytea)"
_NAMESPACES = """
    INSERT INTO resources (uid, kind, namespace, name, revision, generation, created_at, labels, document)
    SELECT gen_random_uuid(), m.kind, '', n.name, m.revision, m.generation, m.created_at,
           m.labels, m.document
    FROM (SELECT 'team-' || lpad(number::text, 5, '0') AS name FROM generate_series(0, $1::int) AS number) n,
         (SELECT * FROM resources WHERE kind = 'Namespace' AND name = 'models') m
"""
_ACCOUNTS = """
    INSERT INTO resources (uid, kind, namespace, name, revision, generation, created_at, labels, document)
    SELECT made.uid, m.kind, 'team-' || lpad((number / $1::int)::text, 5, '0'), 'account-' || lpad(number::text, 7, '0'),
           m.revision, m.generation, m.created_at,
           jsonb_build_object('owner', 'owner-' || (number % 50)::text) ||
               CASE WHEN number % $2::int = 0 THEN '{"tier": "chosen"}'::jsonb ELSE '{}'::jsonb END,
           replace(replace(m.document::text, 'model-account', 'account-' || lpad(number::text, 7, '0')),
                   m.uid::text, made.uid::text)::json
    FROM made, (SELECT * FROM resources WHERE kind = 'ServiceAccount' AND namespace = 'models') m
"""
_SECRETS = """
    INSERT INTO secret_versions (account_uid, version, pepper_id, hmac, created_at, handed_out_at, activated_at,
                                 acknowledged_at)
    SELECT made.uid, 1, m.pepper_id, made.hmac, m.created_at, m.created_at, m.created_at, m.created_at
    FROM made, (SELECT s.* FROM secret_versions s JOIN resources r ON r.uid = s.account_uid WHERE r.namespace = 'models') m
"""


async def populate(stage: Stage, url: str, number: int, wanted: int) -> list[str]:
    """Adds so many accounts to a bootstrapped database; the Authorization headers of `wanted` of them, spread over all."""
    async with started_world(url, stage.databases.bootstrapped, url=URL) as world:
        await world.account("model-account", "models", scopes=list(SCOPES), tokenSettings={"accessTokenTTL": "5m"})
        snapshot = world.issuer.reloader.snapshot()
    if snapshot is None or len(snapshot.peppers) != 1:
        raise BenchmarkFailed("there is not one pepper")
    (pepper,) = snapshot.peppers.values()
    authorizations: list[str] = []
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_MADE)
        await connection.execute(_NAMESPACES, (number - 1) // PER_NAMESPACE)
        for first in range(0, number, _CHUNK):
            numbers = range(first, min(number, first + _CHUNK))
            rows = _made(numbers, pepper, number // wanted, authorizations)
            await connection.execute("TRUNCATE made")
            await connection.copy_records_to_table("made", records=rows)
            async with connection.transaction():
                await connection.execute(_ACCOUNTS, PER_NAMESPACE, max(1, number // CHOSEN))
                await connection.execute(_SECRETS)
        await connection.execute("VACUUM ANALYZE resources, secret_versions")
    finally:
        await connection.close()
    return authorizations


def _made(numbers: range, pepper: bytes, every: int, authorizations: list[str]) -> Iterator[tuple[int, UUID, bytes]]:
    """Identities and the HMACs of their secrets; some of the credentials are kept."""
    make_secret = system_sources().client_secret
    for number in numbers:
        uid, secret = uuid4(), make_secret()
        if number % every == 0:
            authorizations.append(basic(client_id_of(uid), secret))
        yield number, uid, digest(pepper, secret.encode(), "sha256")


async def stored_bytes(url: str) -> float:
    """What an account and its secret take as rows, on average, without the indexes on them."""
    connection = await asyncpg.connect(url)
    try:
        values: list[Any] = [
            await connection.fetchval(query)
            for query in (
                "SELECT avg(pg_column_size(r.*)) FROM resources r WHERE kind = 'ServiceAccount'",
                "SELECT avg(pg_column_size(s.*)) FROM secret_versions s",
            )
        ]
    finally:
        await connection.close()
    return float(sum(values))
