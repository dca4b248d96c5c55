"""Checkpoints and seals as they are made: by any number of replicas, each once, and none when nothing is new."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from issuer.administration import seals
from issuer.administration.auditkeys import AuditKeys
from issuer.administration.rekeying import rekey
from issuer.administration.verification import Period, Witnesses, verify
from issuer.events import CheckpointSigned
from issuer.record.administrative import ADMIN_CHAIN
from issuer.record.checkpoint import Checkpoint, read_checkpoint
from issuer.signing.sealing import generate_master_key_line, load_master_key
from issuer.store.evidence import Evidence
from issuer.wiring import path_beside
from tests.databases import LOCAL, Databases
from tests.evidence.ledger import Ledger
from tests.world import World, started_world


@pytest.fixture
async def replicas(databases: Databases, ledger: Ledger) -> AsyncIterator[list[World]]:
    """Three issuers on one database."""
    async with AsyncExitStack() as stack:
        yield [
            ledger.world,
            *[
                await stack.enter_async_context(started_world(ledger.url, databases.bootstrapped, ledger.world.clock))
                for _ in range(2)
            ],
        ]


async def checkpoints(ledger: Ledger) -> list[Checkpoint]:
    kid, key = await ledger.keys.checkpoint_key()
    rows = await ledger.query("SELECT text FROM checkpoints ORDER BY number")
    return [read_checkpoint(row[0], {kid: key}) for row in rows]


def signed(worlds: Iterable[World]) -> list[int]:
    return sorted(event.number for world in worlds for event in world.seen(CheckpointSigned))


async def test_replicas_at_once_make_one_checkpoint_after_another(ledger: Ledger, replicas: list[World]) -> None:
    writer = await ledger.writer()
    for _ in range(5):
        await writer.write(1, ledger.world.clock.now())
        await asyncio.gather(*(world.issuer.attestation.checkpoints.sign() for world in replicas for _ in range(2)))
    made = await checkpoints(ledger)
    assert [each.number for each in made] == signed(replicas) == list(range(1, 6))
    assert await ledger.says() == []


async def test_replicas_at_once_seal_each_record_once(ledger: Ledger, replicas: list[World]) -> None:
    async def write(world: World, number: int) -> None:
        await world.namespace(f"of-{number}")
        await world.issuer.attestation.seals.seal()

    await asyncio.gather(
        *(write(world, 3 * turn + number) for turn in range(4) for number, world in enumerate(replicas))
    )
    await ledger.attest()
    (row,) = await ledger.query(
        "SELECT (SELECT count(*) FROM audit_records), count(*), max(sequence), count(DISTINCT record_id) FROM audit_seals"
    )
    assert len(set(row)) == 1
    assert await ledger.says() == []


async def test_records_are_sealed_in_the_order_of_their_revisions_and_those_without_one_too(ledger: Ledger) -> None:
    client = await ledger.world.account()
    await ledger.world.admin.post(f"{client.path}/credentials")
    shown = await ledger.world.admin.get(f"{client.path}/credentials/current")
    assert shown.status_code == 200
    await ledger.attest()
    rows = await ledger.query("SELECT revision FROM audit_seals JOIN audit_records ON id = record_id ORDER BY sequence")
    revisions = [row[0] for row in rows if row[0] is not None]
    assert revisions == sorted(revisions)
    assert None in [row[0] for row in rows]


async def test_what_was_there_before_is_sealed_in_batches(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seals, "BATCH", 2)
    for number in range(7):
        await ledger.world.namespace(f"n{number}")
    await ledger.attest()
    (row,) = await ledger.query("SELECT (SELECT count(*) FROM audit_records) - count(*) FROM audit_seals")
    assert row[0] == 0
    assert await ledger.says() == []


async def test_when_nothing_is_new_there_is_no_checkpoint(ledger: Ledger) -> None:
    await ledger.attest()
    ledger.world.clock.advance(days=3)
    await ledger.attest()
    await ledger.attest()
    assert [each.number for each in await checkpoints(ledger)] == [1]


async def test_a_checkpoint_names_what_is_new_and_the_first_of_a_day_everything(ledger: Ledger) -> None:
    one, two = await ledger.writer(), await ledger.writer()
    now = ledger.world.clock.now()
    await one.write(1, now)
    await two.write(1, now)
    await ledger.attest()
    await two.write(2, now)
    await ledger.attest()
    ledger.world.clock.advance(days=1)
    await one.write(1, now)
    await ledger.attest()
    first, second, third = await checkpoints(ledger)
    ours = {one.writer, two.writer, ADMIN_CHAIN}
    assert ours <= {each.head.writer for each in first.heads}
    assert {each.head for each in second.heads} == {two.head}
    assert ours <= {each.head.writer for each in third.heads}
    assert (first.full, second.full, third.full) == (True, False, True)


async def test_checkpoints_whose_time_is_over_are_forgotten_and_the_rest_verifies(ledger: Ledger) -> None:
    clock, writer = ledger.world.clock, await ledger.writer()
    attestation = ledger.world.issuer.attestation
    for day in range(5):
        for _ in range(2):
            await writer.write(1, clock.now())
            await ledger.attest()
        clock.instant += timedelta(days=100 if day else 1)
    await attestation.checkpoints.forget()
    left = await ledger.query("SELECT number FROM checkpoints ORDER BY number")
    assert [row[0] for row in left] == list(range(1, 11))
    clock.advance(days=200)
    await writer.write(1, clock.now())
    await ledger.attest()
    assert await ledger.says() == []
    await attestation.checkpoints.forget()
    left = await ledger.query("SELECT number FROM checkpoints ORDER BY number")
    assert [row[0] for row in left] == list(range(5, 12))
    assert await ledger.says() == []


async def test_a_newest_checkpoint_that_somebody_changed_is_gone_on_from_and_stays_a_fault(ledger: Ledger) -> None:
    writer = await ledger.writer()
    for _ in range(3):
        await writer.write(1, ledger.world.clock.now())
        await ledger.attest()
    await ledger.execute("UPDATE checkpoints SET text = text || 'A' WHERE number = 3")
    await writer.write(1, ledger.world.clock.now())
    await ledger.attest()
    assert [each for each, _ in await ledger.says()] == ["checkpoint changed"]


async def test_its_key_is_in_no_jwks(ledger: Ledger) -> None:
    await ledger.attest()
    kid, _ = await ledger.keys.checkpoint_key()
    jwks = await ledger.world.public.get("/.well-known/jwks.json")
    assert kid not in jwks.text
    rows = await ledger.query("SELECT purpose, public_jwk IS NULL FROM audit_keys ORDER BY purpose")
    assert [tuple(row) for row in rows] == [("chain", True), ("checkpoint", False)]


async def test_once_the_master_key_is_another_one_the_old_record_verifies_with_it(ledger: Ledger) -> None:
    await ledger.attest()
    line, database = generate_master_key_line("new"), ledger.world.issuer.databases[1]
    both = load_master_key(line + ledger.world.bootstrapped.master_key, None)
    await rekey(path_beside(ledger.world.foundation, database), LOCAL, both, lambda _, __: None)
    async with Evidence.at_one_instant(ledger.url, ledger.world.foundation.settings.database) as evidence:
        keys = AuditKeys(database, load_master_key(line, None))
        result = await verify(evidence, keys, Period(), Witnesses(), lambda _: None)
    assert (result.faults.told, result.checkpoints) == ([], 1)
