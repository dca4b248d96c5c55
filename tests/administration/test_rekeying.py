"""Re-keying: everything sealed goes under the current master key, whatever happens meanwhile, and nothing is lost."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import asyncpg
import pytest
import sqlalchemy as sa

from issuer.administration import rekeying
from issuer.administration.bootstrap import NotBootstrapped
from issuer.administration.rekeying import PURPOSES, Progress, Rekeyed, require_master_key
from issuer.administration.writing import WritePath
from issuer.model.resource import API_VERSION
from issuer.settings import DatabaseSettings
from issuer.signing.sealing import MasterKey, MasterKeyError, generate_master_key_line, load_master_key
from issuer.store.database import Database
from issuer.store.sealed import PEPPERS, SEALED_COLUMNS, UNDELIVERED_SECRETS, count_sealed
from issuer.store.tables import metadata
from issuer.wiring import path_beside
from tests.databases import LOCAL, Bootstrapped
from tests.store.rows import query
from tests.world import World, started_world

NEW = generate_master_key_line("new")
MACS = {"record_chains.mac", "record_chains.dropped_mac", "decision_records.mac", "audit_seals.mac"}
PLAIN = {"secret_versions.hmac", "record_exports.sha256", *MACS}
"""Columns of bytes that are not sealed."""


@pytest.fixture
def both(world: World) -> MasterKey:
    """The new master key first, and the one the database was bootstrapped with."""
    return load_master_key(NEW + world.bootstrapped.master_key, None)


@pytest.fixture
async def beside(world: World) -> AsyncIterator[WritePath]:
    """The way `issuer rekey` writes."""
    database = Database(world.database_url, DatabaseSettings(), application="rekey")
    yield path_beside(world.foundation, database)
    await database.close()


async def rekey(path: WritePath, master_key: MasterKey, progressed: Progress) -> Rekeyed:
    """What the command does, as the local command line."""
    return await rekeying.rekey(path, LOCAL, master_key, progressed)


@asynccontextmanager
async def served_under(world: World, master_key: str) -> AsyncIterator[World]:
    """Another replica on the same database, with this master key."""
    bootstrapped = Bootstrapped(master_key, world.bootstrapped.admin)
    async with started_world(world.database_url, bootstrapped, world.clock) as replica:
        yield replica


def quiet(_: int, __: int) -> None:
    """Nobody watches."""


async def undelivered(world: World, number: int = 1) -> dict[str, str]:
    """Accounts whose second secret waits for its driver: their paths, and the secrets."""
    made = {}
    for each in range(number):
        client = await world.account(f"waiting-{each}")
        answer = await world.admin.post(f"{client.path}/credentials", json={})
        made[client.path] = answer.json()["clientSecret"]
    return made


async def sealed_blobs(url: str) -> dict[tuple[str, str], bytes]:
    """Every blob in the database, by its column and the id of its master key: found by its bytes, not by what we know."""
    columns = await query(
        url,
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE table_schema = 'public' AND data_type = 'bytea'",
    )
    blobs = {}
    for table, column in columns:
        everything = f'SELECT "{column}" FROM "{table}" WHERE "{column}" IS NOT NULL'  # noqa: S608 - names of the catalogue
        for (blob,) in await query(url, everything):
            for kek_id in ("test", "new"):
                if blob.startswith(bytes([1, len(kek_id)]) + kek_id.encode()):
                    blobs[f"{table}.{column} {blob[-30:].hex()}", kek_id] = blob
    return blobs


def ids(blobs: Mapping[tuple[str, str], bytes]) -> set[str]:
    return {kek_id for _, kek_id in blobs}


# --- nothing is forgotten ---------------------------------------------------------------------------------------------


def test_every_column_of_bytes_is_either_rekeyed_or_known_to_be_plain() -> None:
    of_bytes = {
        f"{table.name}.{column.name}"
        for table in metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, sa.LargeBinary)
    }
    rekeyed = {f"{each.column.table.name}.{each.column.name}" for each in SEALED_COLUMNS}
    assert rekeyed | PLAIN == of_bytes
    assert not rekeyed & PLAIN
    assert PURPOSES.keys() == set(SEALED_COLUMNS)


async def test_everything_sealed_is_wrapped_anew_and_the_old_master_key_is_not_needed_any_more(
    world: World, both: MasterKey, beside: WritePath
) -> None:
    client = await world.account("api")
    (waiting,) = (await undelivered(world)).items()
    before = await sealed_blobs(world.database_url)
    assert ids(before) == {"test"}
    assert {name.split()[0] for name, _ in before} == {
        f"{each.column.table.name}.{each.column.name}" for each in SEALED_COLUMNS
    }

    done = await rekey(beside, both, quiet)

    after = await sealed_blobs(world.database_url)
    assert {name for name, _ in after} == {name for name, _ in before}  # the payloads are what they were
    assert ids(after) == {"new"}
    assert (sum(done.rewrapped.values()), done.left, done.unreadable) == (len(before), {}, ())
    async with served_under(world, NEW) as replica:
        token = await replica.token(client.client_id, client.secret)
        assert token.status_code == 200  # pepper and signing key
        path, secret = waiting
        read = await replica.admin.get(f"{path}/credentials/current")
        assert read.json()["clientSecret"] == secret
        assert (await replica.admin.post(f"{path}/credentials", json={"compromised": True})).status_code == 201


async def test_a_server_that_has_both_keys_goes_on_before_during_and_after(
    world: World, both: MasterKey, beside: WritePath
) -> None:
    async with served_under(world, world.bootstrapped.master_key + NEW) as replica:
        await rekey(beside, both, quiet)
        late = await replica.account("late")
        await replica.admin.post(f"{late.path}/credentials", json={})
        assert (await late.token()).status_code == 200
    # Its first line was still the old key, so what it sealed since then is found by the next run.
    done = await rekey(beside, both, quiet)
    assert done == Rekeyed({UNDELIVERED_SECRETS: 1}, {}, ())


async def test_every_transaction_records_who_replaced_which_master_key_of_how_much(
    world: World, both: MasterKey, beside: WritePath
) -> None:
    await undelivered(world, 3)
    before = await query(world.database_url, "SELECT id FROM audit_records")
    await rekey(beside, both, quiet)
    await rekey(beside, both, quiet)
    known = [row["id"] for row in before]
    rows = await query(world.database_url, "SELECT * FROM audit_records WHERE id <> ALL($1) ORDER BY at", known)
    assert {(row["principal"], row["verb"], row["kind"], row["name"], row["uid"], row["revision"]) for row in rows} == {
        ('{"kind": "local", "name": "local:test"}', "rekey", "MasterKey", "new", None, None)
    }
    assert [json.loads(row["note"]) for row in rows] == [
        {"rewrapped": "undelivered secrets", "count": 3, "replaced": ["test"]},
        {"rewrapped": "signing keys", "count": 4, "replaced": ["test"]},
        {"rewrapped": "peppers", "count": 1, "replaced": ["test"]},
        {"rewrapped": "audit keys", "count": 1, "replaced": ["test"]},
        {"rewrapped": "check values", "count": 1, "replaced": ["test"]},
    ]
    listed = (await world.admin.get(f"/apis/{API_VERSION}/auditrecords?kind=MasterKey")).json()["items"]
    assert [each["subject"] for each in listed] == [{"kind": "MasterKey", "name": "new", "uid": None}] * 5


async def test_a_batch_that_is_not_committed_leaves_no_record(
    world: World, both: MasterKey, beside: WritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise asyncpg.PostgresError

    monkeypatch.setattr(rekeying, "write_sealed", fail)
    with pytest.raises(asyncpg.PostgresError):
        await rekey(beside, both, quiet)
    assert await query(world.database_url, "SELECT 1 FROM audit_records WHERE verb = 'rekey'") == []


async def test_run_again_it_changes_nothing(world: World, both: MasterKey, beside: WritePath) -> None:
    await undelivered(world)
    await rekey(beside, both, quiet)
    before = await sealed_blobs(world.database_url)
    assert await rekey(beside, both, quiet) == Rekeyed({}, {}, ())
    assert await sealed_blobs(world.database_url) == before


async def test_it_goes_on_where_a_run_that_died_was(
    world: World, both: MasterKey, beside: WritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rekeying, "_BATCH", 1)
    await undelivered(world, 5)
    blobs = len(await sealed_blobs(world.database_url))

    def dies(done: int, _: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await rekey(beside, both, dies)
    assert sum(kek_id == "new" for _, kek_id in await sealed_blobs(world.database_url)) == 3
    seen: list[tuple[int, int]] = []
    await rekey(beside, both, lambda done, total: seen.append((done, total)))
    assert seen == [(each, blobs - 3) for each in range(1, blobs - 2)]


async def test_it_goes_back_to_the_old_key_as_well(world: World, both: MasterKey, beside: WritePath) -> None:
    await rekey(beside, both, quiet)
    back = load_master_key(world.bootstrapped.master_key + NEW, None)
    await rekey(beside, back, quiet)
    assert ids(await sealed_blobs(world.database_url)) == {"test"}
    async with served_under(world, world.bootstrapped.master_key) as replica:
        await replica.account("api")


# --- at the same time -------------------------------------------------------------------------------------------------


async def test_a_row_somebody_is_changing_is_not_waited_for_and_their_change_wins(
    world: World, both: MasterKey, beside: WritePath
) -> None:
    await undelivered(world, 2)
    other = await asyncpg.connect(world.database_url)
    try:
        await other.execute(
            "BEGIN; UPDATE secret_versions SET sealed = NULL WHERE ctid = "
            "(SELECT ctid FROM secret_versions WHERE sealed IS NOT NULL LIMIT 1)"
        )
        all_others = asyncio.Event()

        def progressed(done: int, total: int) -> None:
            if done == total - 1:
                all_others.set()

        run = asyncio.create_task(rekey(beside, both, progressed))
        async with asyncio.timeout(10):
            await all_others.wait()
        await other.execute("COMMIT")
        done = await run
    finally:
        await other.close()
    assert (done.rewrapped[UNDELIVERED_SECRETS], done.left, done.unreadable) == (1, {}, ())
    assert ids(await sealed_blobs(world.database_url)) == {"new"}


async def test_what_stays_locked_is_said_to_be_left(
    world: World, both: MasterKey, beside: WritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rekeying, "_PAUSE_S", 0)
    other = await asyncpg.connect(world.database_url)
    try:
        await other.execute("BEGIN; SELECT FROM peppers FOR UPDATE")
        done = await rekey(beside, both, quiet)
    finally:
        await other.close()
    assert (done.left, done.unreadable) == ({"test": {PEPPERS: 1}}, ())


async def test_what_drivers_do_meanwhile_is_neither_lost_nor_undone(
    world: World, both: MasterKey, beside: WritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rekeying, "_BATCH", 1)
    waiting = await undelivered(world, 12)
    acknowledged, rotated, untouched = (list(waiting)[part::3] for part in range(3))
    async with served_under(world, NEW + world.bootstrapped.master_key) as replica:

        async def drive() -> None:
            for stored, renewed in zip(acknowledged, rotated, strict=True):
                answer = await replica.admin.post(f"{stored}/credentials/2/acknowledge")
                assert answer.status_code == 200, answer.text
                made = await replica.admin.post(f"{renewed}/credentials", json={"compromised": True})
                waiting[renewed] = made.json()["clientSecret"]

        done, _ = await asyncio.gather(rekey(beside, both, quiet), drive())
    assert (done.left, done.unreadable) == ({}, ())
    async with served_under(world, NEW) as replica:
        for path in (*rotated, *untouched):
            assert (await replica.admin.get(f"{path}/credentials/current")).json()["clientSecret"] == waiting[path]
        for path in acknowledged:
            assert (await replica.admin.get(f"{path}/credentials/current")).status_code in {404, 409}


async def test_two_at_once_share_the_work(
    world: World, both: MasterKey, beside: WritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rekeying, "_BATCH", 2)
    await undelivered(world, 20)
    blobs = len(await sealed_blobs(world.database_url))
    one, two = await asyncio.gather(rekey(beside, both, quiet), rekey(beside, both, quiet))
    assert sum(one.rewrapped.values()) + sum(two.rewrapped.values()) == blobs
    assert (one.left, two.left) == ({}, {})
    assert ids(await sealed_blobs(world.database_url)) == {"new"}


# --- what it refuses --------------------------------------------------------------------------------------------------


async def test_a_key_that_is_missing_is_named_before_anything_is_changed(
    world: World, both: MasterKey, beside: WritePath
) -> None:
    before = await sealed_blobs(world.database_url)
    with pytest.raises(MasterKeyError, match=r"sealed under 'test', and given was only 'new'"):
        await rekey(beside, load_master_key(NEW, None), quiet)
    assert await sealed_blobs(world.database_url) == before

    # The check value is the last to go, but a server may seal under a key that is not here even later.
    await rekey(beside, both, quiet)
    blob = load_master_key(generate_master_key_line("gone"), None).seal(b"", purpose="pepper", owner="p9")
    await query(world.database_url, "INSERT INTO peppers VALUES ('p9', now(), $1)", blob)
    with pytest.raises(MasterKeyError, match=r"sealed under 'gone', and given was only 'new', 'test'"):
        await rekey(beside, both, quiet)
    async with beside.database.transaction() as connection:
        with pytest.raises(MasterKeyError, match="'gone'"):
            await require_master_key(connection, both)


async def test_another_key_under_the_right_id_is_refused_before_anything_is_changed(
    world: World, beside: WritePath
) -> None:
    before = await sealed_blobs(world.database_url)
    wrong = load_master_key(NEW + generate_master_key_line("test"), None)
    with pytest.raises(MasterKeyError, match="check value does not open under the master key 'test'"):
        await rekey(beside, wrong, quiet)
    assert await sealed_blobs(world.database_url) == before


async def test_before_bootstrap_there_is_nothing_to_do(world: World, both: MasterKey, beside: WritePath) -> None:
    await query(world.database_url, "UPDATE installation SET master_key_check = NULL")
    with pytest.raises(NotBootstrapped):
        await rekey(beside, both, quiet)


async def test_a_blob_that_does_not_open_is_named_and_keeps_nothing_else_back(
    world: World, both: MasterKey, beside: WritePath
) -> None:
    await undelivered(world, 2)
    ((uid,),) = await query(
        world.database_url,
        "UPDATE secret_versions SET sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 1) WHERE ctid = "
        "(SELECT ctid FROM secret_versions WHERE sealed IS NOT NULL LIMIT 1) RETURNING account_uid",
    )
    done = await rekey(beside, both, quiet)
    assert done.unreadable == (f"undelivered secret {uid}/2 does not open under the master key 'test'",)
    assert done.left == {"test": {UNDELIVERED_SECRETS: 1}}
    assert done.rewrapped[UNDELIVERED_SECRETS] == 1


# --- what the database sees of a blob ---------------------------------------------------------------------------------


async def test_sql_reads_the_id_that_sealing_wrote(world: World, beside: WritePath) -> None:
    for number, kek_id in enumerate(("k", "k" * 64, "a\\b 'c' \"d\"", "2026-11")):
        blob = load_master_key(f"{kek_id}:{NEW[4:]}", None).seal(b"", purpose="", owner="")
        await query(world.database_url, "INSERT INTO peppers VALUES ($1, now(), $2)", f"p2{number}", blob)
        async with beside.database.transaction() as connection:
            assert (await count_sealed(connection))[kek_id] == {PEPPERS: 1}


async def test_what_is_no_envelope_is_not_counted_and_is_reported_by_rekey(
    world: World, both: MasterKey, beside: WritePath
) -> None:
    strange = (b"", b"\x01", b"\x02\x01k", b"\xff" * 60)
    for number, blob in enumerate(strange):
        await query(world.database_url, "INSERT INTO peppers VALUES ($1, now(), $2)", f"p2{number}", blob)
    async with beside.database.transaction() as connection:
        counted = await require_master_key(connection, both)
    assert {kek_id: counts[PEPPERS] for kek_id, counts in counted.items()} == {"test": 1}
    said = (await rekey(beside, both, quiet)).unreadable
    assert said == tuple(f"pepper p2{number} is not in a format this version reads" for number in range(len(strange)))
