"""Records of what administrators did: one chain, sealed after them, and kept for `audit.keep_admin_days`."""

import asyncio

import pytest

from issuer.events import AdminRecordsDropped
from issuer.store.database import DatabaseUnavailable
from issuer.store.tables import audit_records
from tests.evidence.days import retention
from tests.evidence.ledger import Ledger, Scene, said_of_changes

ADMIN_VALUES = {
    "at": "at + interval '1 microsecond'",
    "revision": "revision + 1000",
    "principal": """principal || '{"name": "somebody else"}'""",
    "uid": "gen_random_uuid()",
    "before": "'{}'",
    # The same document, and another text.
    "after": "(after::text || ' ')::json",
    "note": """note || '{"count": 2}'""",
}


async def test_one_change_in_any_column_of_an_administrative_record_is_named(scene: Scene) -> None:
    (row,) = await scene.ledger.query(
        "SELECT id FROM audit_records WHERE kind = 'ServiceAccount' AND name = 'api' LIMIT 1"
    )
    columns = [column.name for column in audit_records.columns if column.name != "id"]
    values = {column: ADMIN_VALUES.get(column, f"{column} || 'x'") for column in columns}
    said = await said_of_changes(scene.ledger, "audit_records", row[0], values)
    assert {column: each[0][0] for column, each in said.items()} == dict.fromkeys(columns, "record changed")
    for (_, sentence), *_ in said.values():
        assert sentence.startswith(f"record {row[0]}, at ")
        assert sentence.endswith("of the chain of administrative records, is not what was recorded")


ADMIN_TAMPERINGS = {
    "a record deleted": ("DELETE FROM audit_records WHERE revision = 5", "record missing", "is gone"),
    "a record deleted with its seal": (
        (
            "DELETE FROM audit_seals WHERE record_id = (SELECT id FROM audit_records WHERE revision = 5);"
            "DELETE FROM audit_records WHERE revision = 5"
        ),
        "record missing",
        "there is no administrative record of revision 5: 6 follows 4",
    ),
    "the newest seal deleted with its record": (
        (
            "WITH gone AS (DELETE FROM audit_seals WHERE sequence = (SELECT max(sequence) FROM audit_seals) "
            "RETURNING record_id) DELETE FROM audit_records USING gone WHERE id = record_id"
        ),
        "end of a chain missing",
        "1 more, as checkpoint 1 told, are missing",
    ),
    "a record made up, of a revision that is sealed": (
        (
            "UPDATE audit_records SET revision = NULL WHERE revision = 5; INSERT INTO audit_records SELECT gen_random_uuid(), "
            "at, 5, principal, verb, kind, namespace, name, uid, before, after, note FROM audit_records WHERE revision = 6"
        ),
        "record never sealed",
        "(revision 5) was never sealed: nobody knows who wrote it",
    ),
}


@pytest.mark.parametrize("what", ADMIN_TAMPERINGS)
async def test_every_tampering_with_administrative_records_is_named(scene: Scene, what: str) -> None:
    statement, kind, place = ADMIN_TAMPERINGS[what]
    await scene.ledger.execute(statement)
    said = await scene.ledger.says()
    assert any(each == kind and place in sentence for each, sentence in said), said


async def test_a_record_that_was_deleted_before_it_was_sealed_is_missed_by_its_revision(scene: Scene) -> None:
    world = scene.ledger.world
    await world.namespace("one")
    await world.namespace("two")
    await scene.ledger.execute("DELETE FROM audit_records WHERE name = 'one'")
    await scene.ledger.attest()
    ((kind, sentence),) = await scene.ledger.says()
    assert kind == "record missing"
    assert "there is no administrative record of revision" in sentence


class TestRetention:
    """Kept for `audit.keep_admin_days`."""

    async def test_those_whose_time_is_over_are_gone_and_the_rest_verifies(self, ledger: Ledger) -> None:
        world = ledger.world
        await world.account()
        await ledger.attest()
        before = await ledger.query("SELECT count(*) FROM audit_records")
        await retention(ledger).drop_admin_records()
        assert await ledger.query("SELECT count(*) FROM audit_records") == before
        world.clock.advance(days=401)
        await retention(ledger).drop_admin_records()
        (left,) = await ledger.query("SELECT count(*) FROM audit_records")
        assert left[0] == 1
        (event,) = world.seen(AdminRecordsDropped)
        assert event.records == before[0][0] - 1
        assert await ledger.says() == []
        await world.renew_admin()
        await world.namespace("later")
        await ledger.attest()
        assert await ledger.says() == []
        await ledger.execute("DELETE FROM audit_records WHERE name = 'later'")
        assert [kind for kind, _ in await ledger.says()] == ["record missing"]

    async def test_none_goes_before_a_checkpoint_has_said_so(
        self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await ledger.attest()
        before = await ledger.query("SELECT count(*) FROM audit_records")
        ledger.world.clock.advance(days=401)

        async def cannot(*_: object) -> None:
            raise DatabaseUnavailable("away")

        checkpoints = ledger.world.issuer.attestation.checkpoints
        with monkeypatch.context() as patched:
            patched.setattr(type(checkpoints), "sign", cannot)
            with pytest.raises(DatabaseUnavailable):
                await retention(ledger).drop_admin_records()
        assert await ledger.query("SELECT count(*) FROM audit_records") == before
        assert await ledger.says() == []
        await retention(ledger).drop_admin_records()
        assert await ledger.query("SELECT count(*) FROM audit_records") == [(1,)]
        assert await ledger.says() == []

    async def test_two_at_once_delete_each_once(self, ledger: Ledger) -> None:
        await ledger.world.account()
        await ledger.attest()
        ledger.world.clock.advance(days=401)
        await asyncio.gather(*(retention(ledger).drop_admin_records() for _ in range(3)))
        await retention(ledger).drop_admin_records()
        assert await ledger.query("SELECT count(*) FROM audit_records") == [(1,)]
        assert await ledger.says() == []
